//! An exact model of a limiter, and random histories on which the two must agree in every answer: checks, reservations, refunds,
//! resets, several quotas in a policy, plans, policies that are replaced by others with more quotas or fewer, and a clock that steps back.
//!
//! [`account`] is a key under one quota (a strict window's is in [`strict`]), [`key`] a key under all quotas and plans, [`history`] what
//! happens. `.ci/long exactness` plays very many more histories; the environment variable `TOLLGATE_EXACT_OPERATIONS` says how many
//! operations, and `TOLLGATE_EXACT_SEED` from where on.

mod account;
mod history;
mod key;
mod strict;

use history::History;

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.replace('_', "").parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => otherwise,
    }
}

#[test]
fn any_history_agrees_with_the_model() {
    let (first, operations) = (number("TOLLGATE_EXACT_SEED", 0), number("TOLLGATE_EXACT_OPERATIONS", 200_000));
    let (mut seed, mut done, mut said) = (first, 0, 0);
    while done < operations {
        let history = History::of(seed);
        if let Err(error) = history.play() {
            let shortened = history.shortened();
            panic!("history {seed}: {error}\nshortened: {}\n{shortened:#?}", shortened.play().unwrap_err());
        }
        done += history.acts.len() as u64;
        // Every ten million, and in the end.
        if done / 10_000_000 > said || done >= operations {
            println!("{done} operations of the histories {first} to {seed}: no difference");
            said = done / 10_000_000;
        }
        seed += 1;
    }
}
