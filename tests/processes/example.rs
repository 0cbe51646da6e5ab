//! The main job in two processes: the pipeline of `examples/corpus`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Place, Random, in_time, report};

/// Runs the example over this crate's own sources; gives what it said, its report, and how long it took.
fn corpus(example: &Path, place: &Place, run: u32) -> (String, String, Duration) {
    let out = place.beside(&format!("report {run}"));
    let begun = Instant::now();
    let output = Command::new(example)
        .args(["--dir", "src", "--dir", "tests"])
        .arg("--cache")
        .arg(place.cache())
        .arg("--out")
        .arg(&out)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the example");
    let took = begun.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8_lossy(&output.stdout).into(), fs::read_to_string(out).expect("its report"), took)
}

/// The example, built as this test is.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this binary");
    let profile = test.ancestors().nth(2).expect("target/profile/deps/test");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--example", "corpus"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(if profile.ends_with("release") {
        &["--release"][..]
    } else {
        &[]
    });
    if cfg!(feature = "testing") {
        cargo.arg("--all-features");
    }
    assert!(cargo.status().expect("cargo").success(), "the example is not built");
    profile.join("examples/corpus")
}

/// The second run of a pipeline computes again what the first has computed, or reports something else; or a cache
/// directory that has lost some of its files spoils a report.
#[test]
fn the_second_process_computes_nothing() {
    in_time(|| {
        let (example, place) = (built(), Place::new());
        let (first_said, first, cold) = corpus(&example, &place, 1);
        let nothing = "Nothing was computed";
        assert!(!first_said.contains(nothing), "{first_said}");
        let (said, second, warm) = corpus(&example, &place, 2);
        assert!(said.contains(nothing), "{said}");
        assert!(first == second, "the reports differ");
        report(&format!("the example over its own sources: {cold:?}, then {warm:?}"));
        let mut random = Random(u64::from(std::process::id()));
        for round in 3..6 {
            let mut deleted = Vec::new();
            for file in place.files() {
                if random.below(2) == 0 {
                    fs::remove_file(&file).expect("ours");
                    deleted.push(file);
                }
            }
            let (_, now, _) = corpus(&example, &place, round);
            assert!(now == first, "another report, after these files were deleted: {deleted:?}");
        }
    });
}
