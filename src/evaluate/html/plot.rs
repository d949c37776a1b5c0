//! Plots as SVG: axes, lines, areas, bars and marks, coloured by the page's style sheet.

use std::fmt::Write as _;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Names of the style sheet's colours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hue {
    /// What the plot is about.
    Main,
    /// Bad rows.
    Bad,
    /// Good rows.
    Good,
    /// What it is compared with.
    Faint,
}

impl Hue {
    fn class(self) -> &'static str {
        match self {
            Hue::Main => "main",
            Hue::Bad => "bad",
            Hue::Good => "good",
            Hue::Faint => "faint",
        }
    }
}

/// A plot in the making.
pub(super) struct Plot {
    x: (f64, f64),
    y: (f64, f64),
    body: String,
    /// Class and name.
    legend: Vec<(&'static str, String)>,
    x_label: String,
    y_label: String,
}

impl Plot {
    /// Axes over these ranges; one without extent is widened.
    pub(super) fn new(x: (f64, f64), y: (f64, f64), x_label: &str, y_label: &str) -> Self {
        let widened = |(low, high): (f64, f64)| {
            if low < high { (low, high) } else { (low - 0.5, high + 0.5) }
        };
        let (x_label, y_label) = (escape(x_label), escape(y_label));
        let (body, legend) = (String::new(), Vec::new());
        Plot { x: widened(x), y: widened(y), body, legend, x_label, y_label }
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let share =
            |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(0.0, 1.0);
        let across = LEFT + share(x, self.x) * (WIDTH - LEFT - RIGHT);
        let down = TOP + (1.0 - share(y, self.y)) * (HEIGHT - TOP - BOTTOM);
        (across, down)
    }

    /// The points in pixels, without those that could not be told from the one before.
    fn path(&self, points: &[(f64, f64)]) -> String {
        let (mut path, mut last) = (String::new(), (f64::NAN, f64::NAN));
        for (i, point) in points.iter().enumerate() {
            let (x, y) = self.place(*point);
            let near = (x - last.0).abs() < 0.7 && (y - last.1).abs() < 0.7;
            if !near || i + 1 == points.len() {
                let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
                last = (x, y);
            }
        }
        path
    }

    pub(super) fn line(mut self, points: &[(f64, f64)], hue: Hue, name: &str) -> Self {
        let (path, class) = (self.path(points), hue.class());
        let _ = write!(self.body, r#"<path class="line {class}" d="{path}"/>"#);
        if !name.is_empty() {
            self.legend.push((hue.class(), escape(name)));
        }
        self
    }

    /// The surface between a line and the bottom.
    pub(super) fn area(mut self, points: &[(f64, f64)], hue: Hue) -> Self {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return self };
        let closed: Vec<(f64, f64)> = std::iter::once((first.0, self.y.0))
            .chain(points.iter().copied())
            .chain([(last.0, self.y.0)])
            .collect();
        let (path, class) = (self.path(&closed), hue.class());
        let _ = write!(self.body, r#"<path class="area {class}" d="{path}Z"/>"#);
        self
    }

    pub(super) fn dots(mut self, points: &[(f64, f64, f64)], hue: Hue) -> Self {
        let most = points.iter().map(|point| point.2).fold(f64::MIN_POSITIVE, f64::max);
        for &(x, y, weight) in points {
            let (across, down) = self.place((x, y));
            let radius = 2.5 + 4.0 * (weight / most).sqrt();
            let class = hue.class();
            let _ = write!(
                self.body,
                r#"<circle class="dot {class}" cx="{across:.1}" cy="{down:.1}" r="{radius:.1}"><title>{} / {}</title></circle>"#,
                short(x),
                short(y)
            );
        }
        self
    }

    /// Bars from one x to another, as high as y.
    pub(super) fn bars(mut self, bars: &[(f64, f64, f64)], hue: Hue, name: &str) -> Self {
        for &(from, to, y) in bars {
            let ((left, top), (right, bottom)) =
                (self.place((from, y)), self.place((to, self.y.0)));
            let (width, height, class) = ((right - left).max(0.5), bottom - top, hue.class());
            let _ = write!(
                self.body,
                r#"<rect class="bar {class}" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}"><title>{} to {}: {}</title></rect>"#,
                short(from),
                short(to),
                short(y)
            );
        }
        if !name.is_empty() {
            self.legend.push((hue.class(), escape(name)));
        }
        self
    }

    /// A dashed line between two points.
    pub(super) fn reference(mut self, from: (f64, f64), to: (f64, f64), name: &str) -> Self {
        let ((x1, y1), (x2, y2)) = (self.place(from), self.place(to));
        let _ = write!(
            self.body,
            r#"<line class="reference" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
        if !name.is_empty() {
            self.legend.push(("dashed", escape(name)));
        }
        self
    }

    /// The plot with its axes and legend; `description` is read out in its place.
    pub(super) fn finish(self, description: &str) -> String {
        let mut svg = format!(
            r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
            escape(description)
        );
        for tick in ticks(self.y) {
            let (x, y) = self.place((self.x.0, tick));
            let end = WIDTH - RIGHT;
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{x:.1}" y1="{y:.1}" x2="{end}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                x - 6.0,
                y + 3.5,
                short(tick)
            );
        }
        for tick in ticks(self.x) {
            let (x, y) = self.place((tick, self.y.0));
            let _ = write!(
                svg,
                r#"<text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                y + 16.0,
                short(tick)
            );
        }
        let bottom = HEIGHT - BOTTOM;
        let _ = write!(
            svg,
            r#"<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{}" y2="{bottom}"/>{}"#,
            WIDTH - RIGHT,
            self.body
        );
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let (foot, across) = (HEIGHT - 6.0, (TOP + bottom) / 2.0);
        let (x_label, y_label) = (&self.x_label, &self.y_label);
        let _ = write!(
            svg,
            r#"<text class="label" x="{middle}" y="{foot}" text-anchor="middle">{x_label}</text><text class="label" x="14" y="{across}" text-anchor="middle" transform="rotate(-90 14 {across})">{y_label}</text></svg>"#
        );
        if self.legend.len() > 1 {
            svg.push_str(r#"<p class="legend">"#);
            for (class, name) in &self.legend {
                let _ = write!(svg, r#"<span><i class="{class}"></i>{name}</span>"#);
            }
            svg.push_str("</p>");
        }
        svg
    }
}

/// About five round numbers within a range.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let unit = 10f64.powf(rough.log10().floor());
    // Counts have no halves.
    let between = if unit == 1.0 { 2.0 } else { 2.5 };
    let steps = [1.0, 2.0, between, 5.0, 10.0].map(|of| of * unit);
    let step = steps.into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * unit);
    let (first, last) = ((low / step).ceil() as i64, (high / step * (1.0 + 1e-12)).floor() as i64);
    (first..=last.min(first + 20)).map(|i| i as f64 * step).collect()
}

/// A number as short as three digits allow.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if value == 0.0 => "0".into(),
        _ if !value.is_finite() => "–".into(),
        _ if size >= 1e6 => format!("{}M", short(value / 1e6)),
        _ if size >= 1e4 => format!("{}k", short(value / 1e3)),
        _ => {
            let decimals = (2.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
            let text = format!("{value:.decimals$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
    }
}

/// Text that cannot become markup.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_numbers_short() {
        assert_eq!(ticks((0.0, 1.0)).len(), 6);
        assert_eq!(ticks((1.0, 12.0)), [5.0, 10.0]);
        assert_eq!(ticks((0.0, 730.0)), [0.0, 200.0, 400.0, 600.0]);
        assert!(ticks((-3.0, 4.0)).contains(&0.0));
        let shortened = [0.0, 0.05, 1.0, 12.34, 1234.0, 25_000.0, 3_400_000.0, -0.5];
        let texts = ["0", "0.05", "1", "12.3", "1234", "25k", "3.4M", "-0.5"];
        assert_eq!(shortened.map(short), texts);
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
