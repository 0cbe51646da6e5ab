//! The whole idea in one screen: `cargo run --example quickstart`.

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use memopool::{Error, Pool, memo};

/// The primes below `n`: worth remembering.
#[memo]
fn primes(n: u32) -> Vec<u32> {
    println!("  computing the primes below {n}");
    (2..n).filter(|&n| (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0)).collect()
}

/// A step that builds on another: inside a task, [`Pool::current`] is the pool that runs it.
#[memo(deps(primes))]
fn largest_gap(n: u32) -> Result<u32, Error> {
    let pool = Pool::current().expect("called in a task");
    let primes = pool.run(primes::call(n))?;
    Ok(primes.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}

fn main() -> Result<(), Error> {
    let pool = Pool::new();

    // Three submissions, two of them alike, and both functions need the same primes: one run of each.
    let gap = pool.submit(largest_gap::call(100_000));
    let again = pool.submit(largest_gap::call(100_000));
    let primes = pool.submit(primes::call(100_000));
    println!("{} primes, at most {} apart", primes.wait()?.len(), gap.wait()?);
    assert_eq!(gap.wait()?, again.wait()?);

    // Many at once: results in order, those that are known at once.
    for gap in pool.map([1_000, 10_000, 100_000].map(largest_gap::call)) {
        println!("largest gap: {}", gap?);
    }
    println!("{}", pool.stats());
    Ok(())
}
