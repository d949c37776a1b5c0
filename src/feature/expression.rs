//! Formulas over fields and features, the same offline and online.

use std::ops;

use serde::{Deserialize, Serialize};

/// A formula. Missing values (NaN) go through every operation but [`or`](Expression::or), and a division by zero is
/// missing.
///
/// ```
/// use riskcycle::feature::Expression;
///
/// let per_day = Expression::feature("n_30d") / Expression::number(30.0);
/// let pace = (Expression::feature("n_1d") / per_day).or(0.0);
/// # let _ = pace;
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Expression {
    /// A money (major units) or number field of the event.
    Field(String),
    /// A feature that stands before this one.
    Feature(String),
    /// A constant.
    Number(f64),
    /// An operation on two formulas.
    Binary(Operation, Box<Expression>, Box<Expression>),
}

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Operation {
    /// Sum.
    Add,
    /// Difference.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient; by zero, missing.
    Divide,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
    /// 1 if the left one is larger, else 0.
    Above,
    /// The left one, or the right one where the left is missing.
    Or,
}

impl Expression {
    /// A money (major units) or number field of the event.
    pub fn field(name: &str) -> Self {
        Expression::Field(name.to_owned())
    }

    /// A feature that stands before this one.
    pub fn feature(name: &str) -> Self {
        Expression::Feature(name.to_owned())
    }

    /// A constant.
    pub fn number(value: f64) -> Self {
        Expression::Number(value)
    }

    /// This, or a constant where it is missing.
    #[must_use]
    pub fn or(self, value: f64) -> Self {
        self.with(Operation::Or, Expression::Number(value))
    }

    /// The smaller of two.
    #[must_use]
    pub fn min(self, other: Expression) -> Self {
        self.with(Operation::Min, other)
    }

    /// The larger of two.
    #[must_use]
    pub fn max(self, other: Expression) -> Self {
        self.with(Operation::Max, other)
    }

    /// 1 if this is larger than the other, else 0.
    #[must_use]
    pub fn above(self, other: Expression) -> Self {
        self.with(Operation::Above, other)
    }

    fn with(self, operation: Operation, other: Expression) -> Self {
        Expression::Binary(operation, Box::new(self), Box::new(other))
    }

    /// The first feature it names that is not among `known`.
    pub(super) fn unknown_feature(&self, known: &[String]) -> Option<&str> {
        match self {
            Expression::Feature(name) => (!known.contains(name)).then_some(name),
            Expression::Binary(_, left, right) => {
                left.unknown_feature(known).or_else(|| right.unknown_feature(known))
            }
            _ => None,
        }
    }
}

impl Operation {
    pub(super) fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Operation::Or => return if left.is_nan() { right } else { left },
            _ if left.is_nan() || right.is_nan() => return f64::NAN,
            _ => {}
        }
        match self {
            Operation::Add => left + right,
            Operation::Subtract => left - right,
            Operation::Multiply => left * right,
            Operation::Divide if right == 0.0 => f64::NAN,
            Operation::Divide => left / right,
            Operation::Min => left.min(right),
            Operation::Max => left.max(right),
            Operation::Above => f64::from(u8::from(left > right)),
            Operation::Or => unreachable!("answered above"),
        }
    }
}

impl ops::Add for Expression {
    type Output = Expression;
    fn add(self, other: Expression) -> Expression {
        self.with(Operation::Add, other)
    }
}

impl ops::Sub for Expression {
    type Output = Expression;
    fn sub(self, other: Expression) -> Expression {
        self.with(Operation::Subtract, other)
    }
}

impl ops::Mul for Expression {
    type Output = Expression;
    fn mul(self, other: Expression) -> Expression {
        self.with(Operation::Multiply, other)
    }
}

impl ops::Div for Expression {
    type Output = Expression;
    fn div(self, other: Expression) -> Expression {
        self.with(Operation::Divide, other)
    }
}

#[cfg(test)]
mod tests {
    use super::Operation::{self, Above, Add, Divide, Max, Or};

    #[test]
    fn missing_values_pass_through_everything_but_or() {
        let nan = f64::NAN;
        let apply = |op: Operation, a: f64, b: f64| op.apply(a, b);
        assert!(apply(Add, nan, 1.0).is_nan() && apply(Max, 1.0, nan).is_nan());
        assert!(apply(Above, nan, 1.0).is_nan());
        assert!(apply(Divide, 1.0, 0.0).is_nan() && apply(Divide, 0.0, 0.0).is_nan());
        assert_eq!(
            [apply(Or, nan, 2.0), apply(Or, 1.0, 2.0), apply(Divide, 1.0, 4.0)],
            [2.0, 1.0, 0.25]
        );
    }
}
