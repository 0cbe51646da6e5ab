//! The same workloads through memopool and through what people would use instead.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports on its standard output")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures outside of the crate's clock, and waits in its bodies"
)]

mod body;
mod child;
mod peer;
mod peers;
mod plan;
mod report;
mod words;
mod work;

use std::process::ExitCode;

use serde_json::Value;

const HELP: &str = "\
The same workloads through memopool and through what people would use instead.

    cargo run --release -p memopool-peers -- [--quick] [--only NAME] [--write FILE] [--json FILE] [--from FILE]

--quick       a fiftieth of everything, once: that it runs, not what it costs
--only NAME   parts whose name begins so: warm cold zipf write herd together read flips
--write FILE  the report as Markdown
--json FILE   the figures
--from FILE   no measurement: the report of such figures

Python's peers take part if there is a Python: MEMOPOOL_PYTHON, target/peers-venv/bin/python, or python3. All of them:

    python3 -m venv target/peers-venv && target/peers-venv/bin/pip install joblib diskcache";

/// Tells whoever waits how far it is.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((first, rest)) if first == "child" => measured(rest),
        _ => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            say(&trouble);
            ExitCode::FAILURE
        }
    }
}

/// One of the processes that are measured.
fn measured(args: &[String]) -> Result<(), String> {
    let task = work::Task::from_args(args).ok_or("`child` is for this program itself; see `--help`")?;
    println!("{}", work::perform(&task)?);
    Ok(())
}

fn run(args: &[String]) -> Result<(), String> {
    let (mut quick, mut only, mut write, mut json, mut from) = (false, None, None, None, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let place = match arg.as_str() {
            "--quick" => {
                quick = true;
                continue;
            }
            "--help" => {
                println!("{HELP}");
                return Ok(());
            }
            "--only" => &mut only,
            "--write" => &mut write,
            "--json" => &mut json,
            "--from" => &mut from,
            other => return Err(format!("`{other}` is no option; see `--help`")),
        };
        *place = Some(args.next().ok_or(format!("{arg} needs a value; see `--help`"))?.clone());
    }
    let (launcher, results, left) = (child::Launcher::new()?, plan::Results::new(), Vec::new());
    let mut plan = plan::Plan { launcher, quick, only, results, left };
    let figures = match from {
        Some(from) => {
            let text = std::fs::read(&from).map_err(|error| format!("{from}: {error}"))?;
            serde_json::from_slice(&text).map_err(|error| format!("{from}: {error}"))?
        }
        None => {
            let about = report::about(&plan.launcher, quick);
            plan.run()?;
            serde_json::json!({ "about": about, "results": Value::Object(std::mem::take(&mut plan.results)) })
        }
    };
    if let Some(json) = json {
        std::fs::write(&json, figures.to_string()).map_err(|error| format!("{json}: {error}"))?;
    }
    let page = report::page(&figures);
    match write {
        Some(write) => std::fs::write(&write, page).map_err(|error| format!("{write}: {error}"))?,
        None => println!("{page}"),
    }
    let broken = report::broken(&figures);
    if broken.is_empty() { Ok(()) } else { Err(format!("memopool broke a promise:\n{}", broken.join("\n"))) }
}
