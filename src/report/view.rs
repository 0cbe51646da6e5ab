//! The report as a page.

use super::page::{Axis, Bar, Bars, Group, Lines, Page, Section, Series, Table, Unit};
use super::{Distribution, Function, Report, Sample};

/// How many functions a chart shows; the table has all.
const CHARTED: usize = 12;

/// The colours of the page, by what they stand for.
const COMPUTED: usize = 1;
const JOINED: usize = 2;
const MEMORY: usize = 3;
const DISK: usize = 4;

impl Report {
    pub(super) fn page(&self) -> Page {
        let totals = &self.totals;
        let time = |time: std::time::Duration| Unit::Time.text(nanos(time));
        let spared = totals.memory_hits + totals.disk_hits + totals.joined;
        Page {
            title: self.title.clone(),
            lead: format!(
                "{} calls of {} functions; {} of them needed no run of their own.",
                totals.submitted,
                self.functions.len(),
                Unit::Percent.text(totals.hit_rate() * 100.0)
            ),
            highlights: vec![
                (time(totals.saved_time), "of waiting for runs was spared".to_owned()),
                (time(totals.compute_time), "was spent in runs".to_owned()),
                (
                    Unit::Percent.text(totals.hit_rate() * 100.0),
                    format!("hit rate: {spared} of {} calls", totals.submitted),
                ),
                (
                    Unit::Bytes.text(totals.memory_bytes as f64),
                    format!("in memory, {} results", totals.entries),
                ),
                (Unit::Bytes.text(totals.disk_bytes as f64), "on disk".to_owned()),
            ],
            sections: vec![
                self.functions_section(),
                self.tiers_section(),
                self.misses_section(),
                self.sizes_section(),
            ],
            facts: vec![
                ("Date".to_owned(), self.date.clone()),
                ("Pool's age".to_owned(), time(self.uptime)),
                (
                    "Processor".to_owned(),
                    format!("{}, {} threads", self.machine.processor, self.machine.threads),
                ),
                ("System".to_owned(), self.machine.system.clone()),
                ("memopool".to_owned(), self.memopool.to_owned()),
            ],
        }
    }

    fn functions_section(&self) -> Section {
        let bar = |tone: usize, value: std::time::Duration, name: &str| Bar {
            name: name.to_owned(),
            value: Some(nanos(value)),
            text: Unit::Time.text(nanos(value)),
            tone,
        };
        let groups = self.functions.iter().take(CHARTED).map(|function| Group {
            name: self.short(&function.name),
            bars: vec![
                bar(MEMORY, function.stats.saved_time, "saved"),
                bar(COMPUTED, function.stats.compute_time, "spent"),
            ],
        });
        let saved = Bars {
            title: "Time saved and spent, by function".to_owned(),
            note: self.shown("What its hits and joins would have taken, going by the runs they were spared."),
            axis: Axis::linear("time in runs, waits included", Unit::Time),
            groups: groups.collect(),
        };
        let mut table = Table::new([
            "function", "calls", "hit rate", "memory", "disk", "joined", "computed", "failed", "saved",
            "spent",
        ]);
        for Function { name, stats, .. } in &self.functions {
            table.row([
                name.clone(),
                stats.submitted.to_string(),
                Unit::Percent.text(stats.hit_rate() * 100.0),
                stats.memory_hits.to_string(),
                stats.disk_hits.to_string(),
                stats.joined.to_string(),
                stats.computed.to_string(),
                (stats.failed + stats.panicked).to_string(),
                Unit::Time.text(nanos(stats.saved_time)),
                Unit::Time.text(nanos(stats.compute_time)),
            ]);
        }
        let text = "A run that waited for another counts the other's time as well: this is time waited for, not processor time.";
        Section::new("Functions", text).with(saved).with(self.rate_over_time()).with(table)
    }

    fn rate_over_time(&self) -> Lines {
        let curve = |name: &str, tone, of: fn(&Sample) -> u64| Series {
            name: name.to_owned(),
            tone,
            points: self.rates(of),
        };
        let series = vec![
            curve("all that needed no run", COMPUTED, |at| at.memory_hits + at.disk_hits + at.joined),
            curve("memory", MEMORY, |at| at.memory_hits),
            curve("disk", DISK, |at| at.disk_hits),
            curve("joined", JOINED, |at| at.joined),
        ];
        Lines {
            title: "Hit rate over time".to_owned(),
            note: "The share of the calls submitted between two points. Points are taken when runs end or the disk is read."
                .to_owned(),
            x: Axis::linear("since the pool was made (s)", Unit::Time),
            y: Axis::linear("share of calls (%)", Unit::Percent),
            series,
        }
    }

    /// Shares of what was submitted since the point before; a point without submissions says nothing.
    fn rates(&self, of: fn(&Sample) -> u64) -> Vec<(f64, f64)> {
        let mut points = Vec::new();
        let mut before = (0, 0);
        for sample in &self.timeline {
            let submitted = sample.submitted.saturating_sub(before.0);
            if submitted > 0 {
                let share = of(sample).saturating_sub(before.1) as f64 / submitted as f64;
                points.push((nanos(sample.at), share.min(1.0) * 100.0));
                before = (sample.submitted, of(sample));
            }
        }
        points
    }

    fn tiers_section(&self) -> Section {
        let totals = &self.totals;
        let led = totals.submitted.saturating_sub(totals.memory_hits + totals.disk_hits + totals.joined);
        let tiers = [
            ("memory", totals.memory_hits, MEMORY),
            ("disk", totals.disk_hits, DISK),
            ("joined a run", totals.joined, JOINED),
            ("needed a run", led, COMPUTED),
        ];
        let share = |count: u64| 100.0 * count as f64 / totals.submitted.max(1) as f64;
        let bars = tiers.map(|(name, count, tone)| Bar {
            name: name.to_owned(),
            value: Some(share(count)),
            text: format!("{} ({count})", Unit::Percent.text(share(count))),
            tone,
        });
        let tiers = Bars {
            title: "Where results came from".to_owned(),
            note: String::new(),
            axis: Axis::linear("share of calls (%)", Unit::Percent),
            groups: vec![Group { name: String::new(), bars: bars.to_vec() }],
        };
        let mut runs = Distribution::default();
        let mut reads = Distribution::default();
        for function in &self.functions {
            runs.add(&function.runs);
            reads.add(&function.disk_reads);
        }
        let curve =
            |name: &str, tone, of: &Distribution| Series { name: name.to_owned(), tone, points: of.shares() };
        let latency = Lines {
            title: "How long it took".to_owned(),
            note: "The share that took no longer. Hits in memory are not timed: looking at a clock would take as long as they do."
                .to_owned(),
            x: Axis::log("time", Unit::Time),
            y: Axis::linear("share that took no longer (%)", Unit::Percent),
            series: vec![curve("reads from disk", DISK, &reads), curve("runs", COMPUTED, &runs)],
        };
        Section::new("Tiers", "").with(tiers).with(latency)
    }

    fn misses_section(&self) -> Section {
        let mut reasons: Vec<(String, u64)> = Vec::new();
        let mut why = Table::new(["function", "runs", "why they were needed", "median run", "99 % of runs"]);
        for function in &self.functions {
            for miss in &function.misses {
                match reasons.iter_mut().find(|(reason, _)| *reason == miss.why) {
                    Some((_, count)) => *count += miss.count,
                    None => reasons.push((miss.why.clone(), miss.count)),
                }
            }
            let mut text: Vec<String> = function.misses.iter().map(ToString::to_string).collect();
            if !function.other_versions.is_empty() {
                text.push(format!("(on disk there is also {})", function.other_versions.join(", ")));
            }
            let quantile = |share| {
                function
                    .runs
                    .quantile(share)
                    .map_or_else(|| "–".to_owned(), |time| Unit::Time.text(nanos(time)))
            };
            let runs = function.runs.count().to_string();
            why.row([function.name.clone(), runs, text.join(", "), quantile(0.5), quantile(0.99)]);
        }
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let bars = reasons.into_iter().map(|(name, count)| Bar {
            name,
            value: Some(count as f64),
            text: count.to_string(),
            tone: COMPUTED,
        });
        let reasons = Bars {
            title: "Why runs were needed".to_owned(),
            note: "“new”: nothing was known of the call, or it was too long ago to tell.".to_owned(),
            axis: Axis::linear("runs (number)", Unit::Count),
            groups: vec![Group { name: String::new(), bars: bars.collect() }],
        };
        let slowest = self.slowest.iter().map(|run| Bar {
            name: format!("{} #{}", self.short(&run.function), run.key),
            value: Some(nanos(run.took)),
            text: format!("{}, {}", Unit::Time.text(nanos(run.took)), run.why),
            tone: COMPUTED,
        });
        let slowest = Bars {
            title: "The slowest runs".to_owned(),
            note: "By function and key, with why the run was needed.".to_owned(),
            axis: Axis::linear("time of the run, waits included", Unit::Time),
            groups: vec![Group { name: String::new(), bars: slowest.collect() }],
        };
        Section::new("Misses", "").with(reasons).with(slowest).with(why)
    }

    fn sizes_section(&self) -> Section {
        let bars = self.functions.iter().filter(|function| function.results.count > 0).take(CHARTED).map(
            |function| {
                let mean = function.results.mean() as f64;
                let text = Unit::Bytes.text(mean);
                Bar { name: self.short(&function.name), value: Some(mean), text, tone: DISK }
            },
        );
        let sizes = Bars {
            title: "Size of a result".to_owned(),
            note: self
                .shown("On average, as weighed in memory; where it is not kept there, as it is on disk."),
            axis: Axis::log("size of one result, mean", Unit::Bytes),
            groups: vec![Group { name: String::new(), bars: bars.collect() }],
        };
        let mut table =
            Table::new(["function", "results", "mean", "largest", "in memory now", "kept", "evicted"]);
        for Function { name, stats, results, .. } in &self.functions {
            table.row([
                name.clone(),
                results.count.to_string(),
                Unit::Bytes.text(results.mean() as f64),
                Unit::Bytes.text(results.largest as f64),
                Unit::Bytes.text(stats.memory_bytes as f64),
                stats.entries.to_string(),
                stats.evicted.to_string(),
            ]);
        }
        Section::new("Sizes", "").with(sizes).with(table)
    }

    /// A function's name in a chart: without its module, where that says enough. The tables have all of it.
    fn short(&self, name: &str) -> String {
        let last = |name: &str| name.rsplit("::").next().map(str::to_owned).unwrap_or_default();
        let short = last(name);
        let same = self.functions.iter().filter(|function| last(&function.name) == short).count();
        if same == 1 && !short.is_empty() { short } else { name.to_owned() }
    }

    /// A note on a chart by function, which says if it leaves some out.
    fn shown(&self, note: &str) -> String {
        match self.functions.len() {
            0..=CHARTED => note.to_owned(),
            all => format!("{note} The first {CHARTED} of {all}; the table has all."),
        }
    }
}

impl Distribution {
    fn add(&mut self, other: &Distribution) {
        for bucket in &other.buckets {
            match self.buckets.binary_search_by_key(&bucket.below, |known| known.below) {
                Ok(at) => self.buckets[at].count += bucket.count,
                Err(at) => self.buckets.insert(at, bucket.clone()),
            }
        }
    }

    /// The share in percent that took less than each bucket's end, in nanoseconds.
    fn shares(&self) -> Vec<(f64, f64)> {
        let (all, mut seen) = (self.count().max(1) as f64, 0);
        let share = |bucket: &super::Bucket| {
            seen += bucket.count;
            (nanos(bucket.below), 100.0 * seen as f64 / all)
        };
        self.buckets.iter().map(share).collect()
    }
}

fn nanos(time: std::time::Duration) -> f64 {
    time.as_nanos() as f64
}
