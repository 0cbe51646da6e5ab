//! A pipeline like that of `examples/corpus`: read a file, split it into tokens, count, sign, add up.
//!
//! Reading is not memoized, what follows is keyed by content. The input is what every machine that builds this crate has:
//! the sources of its dependencies.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use memopool::key::Hashed;
use memopool::{Error, Pool, Task, memo};
use serde::{Deserialize, Serialize};

use crate::lexer::{Lexed, lex};
use crate::workloads::Workload;

/// Files in a fixed order.
#[derive(Clone)]
pub(crate) struct Sources(Arc<Vec<PathBuf>>);

impl Sources {
    /// The Rust files of this crate's dependencies.
    pub(crate) fn find() -> Result<Sources, String> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let args = ["metadata", "--offline", "--format-version=1", "--manifest-path", manifest];
        let output =
            Command::new(cargo).args(args).output().map_err(|error| format!("cargo metadata: {error}"))?;
        let found: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
        let packages = found["packages"].as_array().into_iter().flatten();
        let mut files = Vec::new();
        for package in packages.filter(|package| !package["source"].is_null()) {
            let manifest = package["manifest_path"].as_str().map(Path::new);
            manifest.and_then(Path::parent).into_iter().for_each(|root| walk(root, &mut files));
        }
        files.sort();
        match files.is_empty() {
            true => Err("cargo metadata named no Rust file".to_owned()),
            false => Ok(Sources(Arc::new(files))),
        }
    }

    /// The files that a list names.
    pub(crate) fn read(list: &Path) -> Result<Sources, String> {
        let text = fs::read_to_string(list).map_err(|error| format!("{}: {error}", list.display()))?;
        Ok(Sources(Arc::new(text.lines().map(PathBuf::from).collect())))
    }

    /// Writes the list.
    pub(crate) fn write(&self, list: &Path) -> std::io::Result<()> {
        let lines: Vec<String> = self.0.iter().map(|path| path.display().to_string()).collect();
        fs::write(list, lines.join("\n"))
    }

    /// So many files at most, spread over all.
    pub(crate) fn part(&self, count: usize) -> Sources {
        let step = self.0.len().div_ceil(count).max(1);
        Sources(Arc::new(self.0.iter().step_by(step).cloned().collect()))
    }
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is = entry.file_type();
        if is.as_ref().is_ok_and(|is| is.is_dir()) {
            walk(&path, files);
        } else if is.is_ok_and(|is| is.is_file())
            && path.extension().is_some_and(|extension| extension == "rs")
        {
            files.push(path);
        }
    }
}

/// What there is to count in a file.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Measures {
    lines: usize,
    bytes: usize,
    words: BTreeMap<String, usize>,
}

/// What is kept of a file.
#[derive(Serialize, Deserialize)]
struct Summary {
    measures: Measures,
    signature: Vec<u32>,
}

fn count(text: &str, lexed: &Lexed) -> Measures {
    let mut words = BTreeMap::new();
    for word in lexed.comments.split(|c: char| !c.is_alphabetic()).filter(|word| word.len() > 5) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    Measures { lines: text.lines().count(), bytes: text.len(), words }
}

/// A minhash signature: how alike files are is how much of it they have in common.
fn sign(lexed: &Lexed) -> Vec<u32> {
    let mut least = vec![u32::MAX; 256];
    for run in lexed.tokens.windows(5) {
        let run =
            run.iter().fold(0, |hash: u32, token| (hash ^ token).wrapping_mul(0x85eb_ca6b).rotate_left(13));
        for (least, n) in least.iter_mut().zip(0x9e37_79b9_u32..) {
            *least = (*least).min((run ^ n).wrapping_mul(n.wrapping_mul(0xc2b2_ae35) | 1));
        }
    }
    least
}

fn here() -> Pool {
    Pool::current().expect("steps run in a pool")
}

#[memo(deps(lex))]
fn measure(text: &Hashed<str>) -> Result<Measures, Error> {
    Ok(count(text, &*here().run(lex::call(text))?))
}

#[memo(deps(lex))]
fn signature(text: &Hashed<str>) -> Result<Vec<u32>, Error> {
    Ok(sign(&*here().run(lex::call(text))?))
}

#[memo(deps(measure, signature))]
fn summarize(text: &Hashed<str>) -> Result<Summary, Error> {
    let signature = here().submit(signature::call(text));
    let measures = here().run(measure::call(text))?;
    Ok(Summary { measures: (*measures).clone(), signature: signature.wait()?.to_vec() })
}

fn load(path: &Path) -> Hashed<str> {
    let bytes = fs::read(path).expect("it was there when the list was made");
    // (To look for what is no UTF-8 takes three times as long as to see that all is.)
    let text = String::from_utf8(bytes);
    Hashed::new(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn checksum(summary: &Summary) -> u64 {
    let Summary { measures, signature } = summary;
    let words = measures.words.iter().map(|(word, n)| (word.len() * n) as u64).sum::<u64>();
    let signature = signature.iter().fold(0, |sum: u64, n| sum.rotate_left(5) ^ u64::from(*n));
    (measures.lines as u64) ^ ((measures.bytes as u64) << 20) ^ (words << 40) ^ signature
}

fn sum(tasks: &[Task<u64>]) -> u64 {
    tasks.iter().map(|task| *task.wait().expect("nothing here fails")).fold(0, u64::wrapping_add)
}

/// The pipeline over these files.
pub(crate) fn workload(name: &'static str, sources: &Sources) -> Workload {
    let (files, same) = (Arc::clone(&sources.0), Arc::clone(&sources.0));
    let texts: Vec<Arc<str>> = files.iter().map(|path| Arc::clone(load(path).as_arc())).collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let distinct = texts.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
    Workload {
        name,
        what: format!(
            "{} Rust files, {:.1} MB in all: read, split into tokens, counted, signed. Without a cache a file's tokens are made once; four functions with it. Reading is part of every pass.",
            files.len(),
            bytes as f64 / 1e6
        ),
        calls: files.len(),
        runs: 4 * distinct,
        small_memory: bytes as u64 / 10,
        plain: Box::new(move |pool| {
            let spawn = |path: &PathBuf| {
                let path = path.clone();
                pool.spawn(move || {
                    let text = load(&path);
                    let lexed = lex(&text);
                    checksum(&Summary { measures: count(&text, &lexed), signature: sign(&lexed) })
                })
            };
            sum(&files.iter().map(spawn).collect::<Vec<_>>())
        }),
        memoized: Box::new(move |pool| {
            let spawn = |path: &PathBuf| {
                let path = path.clone();
                pool.spawn(move || {
                    checksum(&here().run(summarize::call(&load(&path))).expect("nothing fails"))
                })
            };
            sum(&same.iter().map(spawn).collect::<Vec<_>>())
        }),
    }
}
