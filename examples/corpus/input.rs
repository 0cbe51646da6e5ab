//! Which files the example reads, and where it puts what it has found. Nothing here is about memory.

use std::error::Error;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::{env, fs, process};

const HELP: &str = "Measures and compares Rust sources, twice: cold and warm. Run again, it finds all of it on disk.

  --dir PATH    take the sources below PATH (may be repeated), not those of this crate's dependencies
  --limit N     take at most N files, spread over all of them
  --cache DIR   keep results in DIR, not in `target/corpus-cache` (or, without `target`, in the temporary directory)
  --out FILE    write the report to FILE
  --report DIR  write a page about what the memory saved to DIR (with `--features report`)
  --help        show this";

/// A file: the crate it belongs to, its path in there, and its path on this machine.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) krate: String,
    pub(crate) path: String,
    pub(crate) at: PathBuf,
}

/// What the command line asks for.
pub(crate) struct Asked {
    /// Sorted by crate and path.
    pub(crate) sources: Vec<Source>,
    pub(crate) cache: PathBuf,
    pub(crate) out: Option<PathBuf>,
    pub(crate) page: Option<PathBuf>,
}

/// A directory of sources. Without a name, each directory in it is taken for a crate.
struct Root {
    name: Option<String>,
    dir: PathBuf,
}

/// Reads the command line, and finds the files.
pub(crate) fn asked() -> Result<Asked, Box<dyn Error>> {
    let (mut roots, mut limit, mut cache, mut out, mut page) = (Vec::new(), usize::MAX, None, None, None);
    let mut args = env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let mut path = |option: &str, example: &str| {
            let path =
                args.next().ok_or(format!("{option}: the path is missing, as in `{option} {example}`"));
            path.map(PathBuf::from)
        };
        match arg.to_str() {
            Some("--dir") => roots.push(Root { name: None, dir: path("--dir", "src")? }),
            Some("--cache") => cache = Some(path("--cache", ".memo")?),
            Some("--out") => out = Some(path("--out", "report.txt")?),
            Some("--report") => page = Some(path("--report", "target/report")?),
            Some("--limit") => {
                let n = args.next().unwrap_or_default();
                let number = n.to_str().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                limit = number.ok_or_else(|| {
                    format!("--limit {}: not a number of files; from 1 on, as in `--limit 50`", n.display())
                })?;
            }
            Some("--help" | "-h") => {
                println!("{HELP}");
                process::exit(0);
            }
            _ => return Err(format!("{}: no such option; `--help` lists them", arg.display()).into()),
        }
    }
    if roots.is_empty() {
        roots = dependencies()?;
    }
    let mut sources = Vec::new();
    roots.iter().for_each(|root| walk(root, &root.dir, &mut sources));
    if sources.is_empty() {
        return Err("found no Rust files; name a directory that has some, as in `--dir src`".into());
    }
    sources.sort_by(|a, b| (&a.krate, &a.path).cmp(&(&b.krate, &b.path)));
    let step = sources.len().div_ceil(limit);
    let sources = sources.into_iter().step_by(step).collect();
    Ok(Asked { sources, cache: cache.unwrap_or_else(default_cache), out, page })
}

/// The same at each run from here.
fn default_cache() -> PathBuf {
    match Path::new("target") {
        target if target.is_dir() => target.join("corpus-cache"),
        _ => env::temp_dir().join("memopool-corpus-cache"),
    }
}

/// Adds the Rust files below `dir`; symbolic links are not followed.
fn walk(root: &Root, dir: &Path, sources: &mut Vec<Source>) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return eprintln!("skipped {}: {error}", dir.display()),
    };
    for entry in entries.flatten() {
        let (at, kind) = (entry.path(), entry.file_type());
        if kind.as_ref().is_ok_and(|kind| kind.is_dir()) {
            walk(root, &at, sources);
        } else if kind.is_ok_and(|kind| kind.is_file())
            && at.extension().is_some_and(|extension| extension == "rs")
        {
            let path = at.strip_prefix(&root.dir).unwrap_or(&at).display().to_string();
            let first = path.split_once(MAIN_SEPARATOR).map(|(first, _)| first);
            let krate = root.name.as_deref().or(first).unwrap_or(".").to_owned();
            sources.push(Source { krate, path, at });
        }
    }
}

/// This crate's dependencies, as cargo unpacked them. Asks the network only if cargo must.
fn dependencies() -> Result<Vec<Root>, Box<dyn Error>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = |offline: &[&str]| {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let args = ["metadata", "--format-version=1", "--manifest-path", manifest];
        let output = process::Command::new(&cargo).args(args).args(offline).output();
        let output =
            output.map_err(|error| format!("{}: {error}; set CARGO, or use `--dir`", cargo.display()))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    };
    let found = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let found: serde_json::Value = serde_json::from_slice(&found)?;
    // What has no source is a member of the workspace.
    let packages =
        found["packages"].as_array().into_iter().flatten().filter(|package| !package["source"].is_null());
    let roots = packages.filter_map(|package| {
        let name = Some(format!("{} {}", package["name"].as_str()?, package["version"].as_str()?));
        Some(Root { name, dir: Path::new(package["manifest_path"].as_str()?).parent()?.into() })
    });
    Ok(roots.collect())
}
