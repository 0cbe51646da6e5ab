//! Play.
use memopool::{Pool, Func};
use std::time::Instant;
fn main() -> Result<(), memopool::Error> {
    let dir = std::env::args().nth(1).unwrap();
    let n: u64 = std::env::args().nth(2).map_or(100_000, |n| n.parse().unwrap());
    let f = Func::new("kib", |n: u64| vec![n as u8; 1024]);
    let start = Instant::now();
    let pool = Pool::open(&dir)?;
    println!("open {:?}", start.elapsed());
    let start = Instant::now();
    let sum: usize = pool.map((0..n).map(|i| f.call(i))).map(|r| r.unwrap().len()).sum();
    println!("map {n}: {:?} = {:?} each, {sum}", start.elapsed(), start.elapsed() / n as u32);
    println!("{}", pool.stats());
    let start = Instant::now();
    drop(pool);
    println!("drop {:?}", start.elapsed());
    Ok(())
}
