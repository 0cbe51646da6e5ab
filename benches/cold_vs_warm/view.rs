//! The results as a page.

use crate::page::{Axis, Bar, Bars, Block, Group, Lines, Page, Section, Series, Table, Unit};
use crate::results::{Curve, Measured, Pays, Results, Scaling};
use crate::states::State;
use crate::workloads::NAMES;

impl Results {
    /// The page for `report.html` and `report.md`.
    pub(crate) fn page(&self) -> Page {
        let place = &self.place;
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let lead = match self.quick {
            true => "A test run on tiny input: that it works, not what it costs. The figures mean nothing.",
            false => {
                "The same work without a cache, with an empty one, and with a full one, in one run on one machine."
            }
        };
        Page {
            title: "memopool: cold and warm".to_owned(),
            lead: lead.to_owned(),
            highlights: self.highlights(),
            sections: vec![self.passes(), self.saved(), self.tiers(), self.pays(), self.grows()],
            facts: vec![
                fact("Date", &place.date),
                fact("Commit", &place.commit),
                fact("Processor", &format!("{}, {} threads", place.processor, place.threads)),
                fact("System", &place.system),
                fact("Toolchain", &place.toolchain),
                fact("memopool", &place.memopool),
                fact("Seed", &format!("{:#x}", self.seed)),
                fact("Load before", &place.load[0]),
                fact("Load after", &place.load[1]),
            ],
        }
    }

    /// The same workload at the greatest width.
    fn widest(&self, name: &str) -> Option<&Measured> {
        self.workloads
            .iter()
            .filter(|measured| measured.workload == name)
            .max_by_key(|measured| measured.threads)
    }

    fn highlights(&self) -> Vec<(String, String)> {
        let corpus = NAMES.iter().rev().find_map(|name| {
            self.widest(name)
                .filter(|measured| name.starts_with("corpus") && measured.median("no cache").is_some())
        });
        let mut all = Vec::new();
        if let Some(corpus) = corpus {
            let files = corpus.calls;
            let fresh = corpus.ratio("cold, with disk", "warm disk, new process");
            let memory = corpus.ratio("cold, with disk", "warm memory");
            let cold = corpus.ratio("cold, with disk", "no cache");
            all.extend(
                fresh.map(|n| (times(n), format!("faster in a new process: a pipeline over {files} files"))),
            );
            all.extend(memory.map(|n| (times(n), "faster when it is still in memory".to_owned())));
            all.extend(cold.map(|n| (change(n), "time when cold, against no cache".to_owned())));
        }
        for (tier, what) in [("hit in memory", "a hit in memory"), ("hit on disk", "a hit on disk")] {
            let found = self.latency.iter().find(|latency| latency.tier == tier);
            all.extend(found.map(|found| (Unit::Time.text(found.p50_ns), format!("{what}, median"))));
        }
        all
    }

    fn passes(&self) -> Section {
        let text =
            "A pass is a batch of calls of which all results are awaited. What is there when it begins:";
        let mut section = Section::new("Cold and warm", text);
        section.terms = State::ALL.map(|state| (state.name().to_owned(), state.what().to_owned())).to_vec();
        for name in NAMES {
            section.blocks.extend(self.bars_of(name).map(Block::from));
        }
        section.with(self.table())
    }

    fn bars_of(&self, name: &str) -> Option<Bars> {
        let of: Vec<&Measured> = self.workloads.iter().filter(|measured| measured.workload == name).collect();
        let first = of.first()?;
        let group = |measured: &&Measured| {
            let cold = measured.median("cold, with disk");
            let bar = |(state, timed): (&State, &crate::results::Timed)| {
                let ratio = cold.zip(timed.median_ns).map(|(cold, median)| cold / median);
                let text = match (timed.median_ns, &timed.why) {
                    (Some(median), _) => {
                        let faster = ratio.filter(|n| *n >= 1.5).map(|n| format!(" ({})", times(n)));
                        Unit::Time.text(median) + &faster.unwrap_or_default()
                    }
                    (None, why) => format!("not measured: {}", why.as_deref().unwrap_or("unknown")),
                };
                Bar { name: timed.state.to_owned(), value: timed.median_ns, text, tone: state.tone() }
            };
            Group {
                name: threads(measured.threads),
                bars: State::ALL.iter().zip(&measured.states).map(bar).collect(),
            }
        };
        Some(Bars {
            title: name.to_owned(),
            note: format!("{} In brackets: faster than cold with disk.", first.what),
            axis: Axis::log("time of a pass", Unit::Time),
            groups: of.iter().map(group).collect(),
        })
    }

    fn table(&self) -> Table {
        let mut table = Table {
            head: vec!["workload".to_owned(), "threads".to_owned(), "bodies".to_owned()],
            rows: vec![],
        };
        table.head.extend(State::ALL.iter().map(|state| state.name().to_owned()));
        table.head.extend(["cold / no cache", "cold / new process"].map(str::to_owned));
        for measured in &self.workloads {
            let cell = |state: &State| {
                let timed = measured.states.iter().find(|timed| timed.state == state.name());
                match timed.and_then(|timed| Some((timed.median_ns?, timed.runs?))) {
                    Some((median, runs)) => format!("{} · {runs}", Unit::Time.text(median)),
                    None => "–".to_owned(),
                }
            };
            let ratio =
                |slow, fast| measured.ratio(slow, fast).map_or_else(|| "–".to_owned(), |n| format!("{n:.2}"));
            let mut row = vec![
                measured.workload.clone(),
                measured.threads.to_string(),
                measured.distinct_runs.to_string(),
            ];
            row.extend(State::ALL.iter().map(cell));
            row.push(ratio("cold, with disk", "no cache"));
            row.push(ratio("cold, with disk", "warm disk, new process"));
            table.rows.push(row);
        }
        table
    }

    fn saved(&self) -> Section {
        let group = |name: &&str| {
            let measured = self.widest(name)?;
            let without = measured.median("no cache")?;
            let bar = |state: State| {
                let saved = without - measured.median(state.name())?;
                let text = format!("{} ({})", signed(saved), Unit::Percent.text(100.0 * saved / without));
                Some(Bar {
                    name: state.name().to_owned(),
                    value: Some(saved.max(0.0)),
                    text,
                    tone: state.tone(),
                })
            };
            let bars = [State::ColdDisk, State::FreshProcess, State::WarmMemory];
            Some(Group {
                name: format!("{name} ({})", Unit::Time.text(without)),
                bars: bars.into_iter().filter_map(bar).collect(),
            })
        };
        let part = |corpus: bool| {
            let names: Vec<&str> = NAMES
                .into_iter()
                .filter(|name| name.starts_with("corpus pipeline, whole") == corpus)
                .collect();
            names.iter().filter_map(group).collect::<Vec<_>>()
        };
        let bars = |title: &str, groups| {
            Bars {
            title: title.to_owned(),
            note: "In brackets after a name: a pass without a cache. Negative: the cache cost more than it saved.".to_owned(),
            axis: Axis::linear("time saved in a pass, against no cache", Unit::Time),
            groups,
        }
        };
        let mut section = Section::new("Time saved", "By wall clock, with all threads.");
        for (title, groups) in
            [("Time saved in a pass", part(false)), ("… of the whole pipeline", part(true))]
        {
            if !groups.is_empty() {
                section = section.with(bars(title, groups));
            }
        }
        let tones = [3, 4, 5, 6];
        section.with(Lines {
            title: "Hit rate over time".to_owned(),
            note: "A stream of calls as popular as words are; the share of hits among each fiftieth of them."
                .to_owned(),
            x: Axis::linear("since the first call (s)", Unit::Time),
            y: Axis::linear("calls that needed no run (%)", Unit::Percent),
            series: series(&self.hit_rate, &tones),
        })
    }

    fn tiers(&self) -> Section {
        let tones = [0, 3, 5, 4, 7, 1, 6];
        let curves: Vec<Curve> = self
            .latency
            .iter()
            .map(|latency| Curve { name: latency.tier.clone(), points: latency.points.clone() })
            .collect();
        let chart = Lines {
            title: "How long a single call takes".to_owned(),
            note: "The share of calls that took no longer: one caller, one worker, results of 32 bytes, bodies that do nothing. The clock's own time is in all of them."
                .to_owned(),
            x: Axis::log("time of a call", Unit::Time),
            y: Axis::linear("calls that took no longer (%)", Unit::Percent),
            series: series(&curves, &tones),
        };
        let mut table = Table::new(["tier", "calls", "median", "90 %", "99 %", "99.9 %"]);
        for latency in &self.latency {
            let time = |nanos| Unit::Time.text(nanos);
            table.row([
                latency.tier.clone(),
                latency.calls.to_string(),
                time(latency.p50_ns),
                time(latency.p90_ns),
                time(latency.p99_ns),
                time(latency.p999_ns),
            ]);
        }
        Section::new("Latency", "What a call costs in each tier, beside its body.").with(chart).with(table)
    }

    fn pays(&self) -> Section {
        let text = "How long a function must take before it pays to remember it, against calling it where one stands: no pool, no thread. With more hits per stored result the cost of storing it is shared; what is left is the cost of a hit.";
        let mut section = Section::new("Break-even", text);
        let mut sizes: Vec<usize> = self.break_even.iter().map(|pays| pays.result_bytes).collect();
        sizes.dedup();
        for bytes in sizes {
            let of: Vec<&Pays> = self.break_even.iter().filter(|pays| pays.result_bytes == bytes).collect();
            let curve = |pays: &&Pays| Curve { name: pays.tier.clone(), points: pays.points.clone() };
            section = section.with(Lines {
                title: format!("Results of {}", Unit::Bytes.text(bytes as f64)),
                note: String::new(),
                x: Axis::log("hits per stored result (number)", Unit::Count),
                y: Axis::log("shortest body that pays", Unit::Time),
                series: series(&of.iter().map(curve).collect::<Vec<_>>(), &[3, 4, 6]),
            });
        }
        let mut table = Table::new([
            "tier",
            "result",
            "a run costs",
            "a hit costs",
            "pays after 1 hit",
            "after 10",
            "after 1000",
        ]);
        for pays in &self.break_even {
            let after = |hits: f64| {
                let point = pays.points.iter().find(|point| point.0 == hits);
                point.map_or_else(|| "–".to_owned(), |point| Unit::Time.text(point.1))
            };
            table.row([
                pays.tier.clone(),
                Unit::Bytes.text(pays.result_bytes as f64),
                Unit::Time.text(pays.run_ns),
                Unit::Time.text(pays.hit_ns),
                after(1.0),
                after(10.0),
                after(1000.0),
            ]);
        }
        section.with(table)
    }

    fn grows(&self) -> Section {
        let mut section = Section::new("Scaling", "How costs grow.");
        for scaling in &self.scaling {
            section = section.with(scaling.chart());
        }
        section
    }
}

impl Scaling {
    fn chart(&self) -> Lines {
        let axis = |title: &str| match title {
            title if title.starts_with("size") => Axis::log(title, Unit::Bytes),
            title if title.starts_with("time") => Axis::log(title, Unit::Time),
            title if title.starts_with("threads") => Axis::linear(title, Unit::Count),
            title => Axis::log(title, Unit::Count),
        };
        Lines {
            title: self.title.clone(),
            note: self.note.clone(),
            x: axis(&self.x),
            y: axis(&self.y),
            series: series(&self.curves, &[3, 5, 4, 7]),
        }
    }
}

fn series(curves: &[Curve], tones: &[usize]) -> Vec<Series> {
    let series = |(curve, tone): (&Curve, &usize)| Series {
        name: curve.name.clone(),
        tone: *tone,
        points: curve.points.clone(),
    };
    curves.iter().zip(tones.iter().cycle()).map(series).collect()
}

fn threads(n: usize) -> String {
    if n == 1 { "1 thread".to_owned() } else { format!("{n} threads") }
}

fn times(n: f64) -> String {
    match n {
        n if n >= 9.95 => format!("{n:.0}×"),
        n => format!("{n:.1}×"),
    }
}

fn change(ratio: f64) -> String {
    format!("{:+.0} %", (ratio - 1.0) * 100.0)
}

fn signed(nanos: f64) -> String {
    let sign = if nanos < 0.0 { "−" } else { "" };
    format!("{sign}{}", Unit::Time.text(nanos.abs()))
}
