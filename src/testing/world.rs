//! A seeded world of card transactions in which fraud happens.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, Normal, Poisson};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::seed::Seed;
use crate::testing::handbook::{START, Transaction};
use crate::time::Timestamp;

/// A seeded world of card transactions, built on the ideas of the handbook's simulator (chapter 3): customers with their
/// own spending habits pay at terminals near them, and fraud comes in three kinds. Large amounts (above 220) are fraud;
/// terminals are taken over and everything paid there for four weeks is fraud; cards are stolen and for two weeks a third
/// of their payments is fraud of five times the amount.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// Customers.
    pub customers: u32,
    /// Terminals.
    pub terminals: u32,
    /// Days, from 2018-04-01.
    pub days: u32,
    /// Terminals that are taken over each day.
    pub terminals_taken_over_per_day: u32,
    /// Cards that are stolen each day.
    pub cards_stolen_per_day: u32,
}

/// 2,500 customers, 5,000 terminals, 100 days: about half a million transactions, 0.9 % of them fraud.
impl Default for World {
    fn default() -> Self {
        World {
            customers: 2500,
            terminals: 5000,
            days: 100,
            terminals_taken_over_per_day: 1,
            cards_stolen_per_day: 2,
        }
    }
}

struct Customer {
    payments_per_day: f64,
    mean_amount: f64,
    terminals: Vec<u32>,
}

impl World {
    /// All transactions of the world, in order of time, ids from 0. The same world and seed give the same transactions.
    ///
    /// # Errors
    /// `InvalidConfig` for a world without customers, terminals or days.
    pub fn transactions(&self, seed: Seed) -> Result<Vec<Transaction>> {
        let config = self;
        if config.customers == 0 || config.terminals == 0 || config.days == 0 {
            return Err(Error::config("world", "needs customers, terminals and days"));
        }
        let customers = customers(config, seed);
        let mut transactions: Vec<Transaction> = Vec::new();
        for (customer, habits) in (0..).zip(&customers) {
            let rng = &mut seed.derive("payments", u64::from(customer)).rng();
            let payments = Poisson::new(habits.payments_per_day).expect("a positive rate");
            let amounts =
                Normal::new(habits.mean_amount, habits.mean_amount / 2.0).expect("a finite mean");
            let seconds = Normal::new(43_200.0, 20_000.0).expect("a finite mean");
            for day in 0..config.days {
                let n = if habits.terminals.is_empty() { 0 } else { payments.sample(rng) as u32 };
                for _ in 0..n {
                    let second: f64 = seconds.sample(rng);
                    if !(0.0..86_400.0).contains(&second) {
                        continue;
                    }
                    let mut amount: f64 = amounts.sample(rng);
                    if amount < 0.0 {
                        amount = rng.gen_range(0.0..2.0 * habits.mean_amount);
                    }
                    let at = i64::from(day) * 86_400 + second as i64;
                    transactions.push(Transaction {
                        id: 0,
                        at: Timestamp::from_seconds(START.micros() / 1_000_000 + at),
                        customer,
                        terminal: *habits.terminals.choose(rng).expect("checked above"),
                        cents: (amount * 100.0).round() as i64,
                        fraud: amount > 220.0,
                    });
                }
            }
        }
        commit_frauds(config, seed, &mut transactions);
        transactions.sort_by_key(|t| t.at); // stable: ties stay in order of customers
        (0..).zip(&mut transactions).for_each(|(id, t)| t.id = id);
        Ok(transactions)
    }
}

/// Customers with their habits and the terminals within reach, on a square of 100 by 100.
fn customers(config: &World, seed: Seed) -> Vec<Customer> {
    let rng = &mut seed.derive("places", 0).rng();
    let mut place = || (rng.gen_range(0.0..100.0f64), rng.gen_range(0.0..100.0f64));
    let terminals: Vec<(f64, f64)> = (0..config.terminals).map(|_| place()).collect();
    let homes: Vec<(f64, f64)> = (0..config.customers).map(|_| place()).collect();
    homes
        .into_iter()
        .map(|(x, y)| {
            let near = |(a, b): &(f64, f64)| (a - x).powi(2) + (b - y).powi(2) < 25.0;
            let within_reach = (0..).zip(&terminals).filter(|(_, terminal)| near(terminal));
            Customer {
                mean_amount: rng.gen_range(5.0..100.0),
                payments_per_day: rng.gen_range(0.01..4.0),
                terminals: within_reach.map(|(terminal, _)| terminal).collect(),
            }
        })
        .collect()
}

fn commit_frauds(config: &World, seed: Seed, transactions: &mut [Transaction]) {
    let rng = &mut seed.derive("fraud", 0).rng();
    // For each terminal and card, the last day on which it is in the wrong hands.
    let mut terminals = vec![0; config.terminals as usize];
    let mut cards = vec![0; config.customers as usize];
    let mut by_day: Vec<Vec<usize>> = vec![Vec::new(); config.days as usize];
    for (i, transaction) in transactions.iter().enumerate() {
        by_day[transaction.at.days_since(START) as usize].push(i);
    }
    for (day, today) in (1..).zip(&by_day) {
        for _ in 0..config.terminals_taken_over_per_day {
            terminals[rng.gen_range(0..config.terminals) as usize] = day + 28;
        }
        for _ in 0..config.cards_stolen_per_day {
            cards[rng.gen_range(0..config.customers) as usize] = day + 14;
        }
        for &i in today {
            let transaction = &mut transactions[i];
            if terminals[transaction.terminal as usize] > day {
                transaction.fraud = true;
            }
            if cards[transaction.customer as usize] > day && rng.gen_bool(1.0 / 3.0) {
                transaction.fraud = true;
                transaction.cents *= 5;
            }
        }
    }
}
