//! Coverage by share, and how far chance alone moves it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Result, Write};

use trainspotter_core::model::Timestamp;

use crate::replay::Tested;
use crate::report::{Case, coverage, median, percent};
use crate::synthetic::Random;

/// Minimum distinct jobs of a share whose coverage is judged; fixed before the results were seen.
pub const MIN_JOBS: usize = 50;

/// Target coverage of a share.
pub const IN_BAND: std::ops::RangeInclusive<f64> = 0.7..=0.9;

/// Target coverage.
const WANTED: f64 = 0.8;

const DRAWS: usize = 1_000;

/// The tested estimates of one share of a workload under a policy.
pub struct OfShare<'a> {
    workload: &'a str,
    policy: &'a str,
    pub share: &'a str,
    tested: Vec<&'a Tested>,
    jobs: usize,
    pub coverage: f64,
}

impl OfShare<'_> {
    pub fn is_judged(&self) -> bool {
        self.jobs >= MIN_JOBS
    }

    pub fn is_within(&self) -> bool {
        IN_BAND.contains(&self.coverage)
    }

    /// Sizes of its backlogs: a backlog ends when the job of its first estimate starts. Until then no miss is known, and later estimates repeat
    /// the error of the first.
    fn backlogs(&self) -> Vec<usize> {
        let mut in_order = self.tested.clone();
        in_order.sort_by_key(|one| one.at);
        let (mut sizes, mut until): (Vec<usize>, Option<Timestamp>) = (Vec::new(), None);
        for one in in_order {
            match sizes.last_mut().filter(|_| until.is_some_and(|until| one.at < until)) {
                Some(size) => *size += 1,
                None => {
                    sizes.push(1);
                    until = Some(one.at + std::time::Duration::from_secs_f64(one.actual.max(1.0)));
                }
            }
        }
        sizes
    }

    fn part(&self, is: impl Fn(&Tested) -> bool) -> String {
        percent(self.tested.iter().filter(|one| is(one)).count() as f64 / self.tested.len() as f64)
    }
}

/// The shares of some cases. Workloads have shares of the same name that are not the same.
pub fn of(cases: &[Case]) -> Vec<OfShare<'_>> {
    let mut shares: BTreeMap<(&str, &str, &str), Vec<&Tested>> = BTreeMap::new();
    for (workload, policy, tested) in cases {
        for one in tested {
            shares.entry((workload, policy, one.share.as_str())).or_default().push(one);
        }
    }
    let of_share = |((workload, policy, share), tested): ((_, _, _), Vec<_>)| {
        let coverage = coverage(tested.iter().copied())?;
        let jobs = tested.iter().map(|one| one.job).collect::<BTreeSet<usize>>().len();
        Some(OfShare { workload, policy, share, tested, jobs, coverage })
    };
    shares.into_iter().filter_map(of_share).collect()
}

/// How many shares are within the band, how many would be by chance, those outside it, and those that are not judged.
pub fn section(out: &mut impl Write, cases: &[Case]) -> Result<()> {
    let (judged, few): (Vec<OfShare<'_>>, Vec<OfShare<'_>>) = of(cases).into_iter().partition(OfShare::is_judged);
    let within = judged.iter().filter(|one| one.is_within()).count();
    let [low, middle, high] = expected(&judged);
    writeln!(
        out,
        "### Shares\n
A share is judged if at least {MIN_JOBS} distinct jobs of it were tested, whatever the result. {within} of {} such shares are within 70 to 90 %. Chance moves
the coverage of a share, because the estimates of one backlog have its error in common: those that are made until the job of the first of them starts. With 16
backlogs of one size that are held or missed as a whole, the standard deviation is 10 %, and one calibrated share in three is outside. With the backlogs of
these shares, {middle} would be within ({low} to {high} in nine of ten draws). This is the least favourable case: often some estimates of a backlog are held.
\nShares outside it, with the parts of starts before P10 and after P90:\n
| workload, policy | share | estimates | jobs | backlogs | coverage | before | after | median width |
|---|---|---:|---:|---:|---:|---:|---:|---:|",
        judged.len()
    )?;
    for one in judged.iter().filter(|one| !one.is_within()) {
        writeln!(
            out,
            "| {}, {} | `{}` | {} | {} | {} | {} | {} | {} | {:.0} s |",
            one.workload,
            one.policy,
            one.share,
            one.tested.len(),
            one.jobs,
            one.backlogs().len(),
            percent(one.coverage),
            one.part(|one| one.actual < one.low),
            one.part(|one| one.actual > one.high + 0.001),
            median(one.tested.iter().map(|one| one.high - one.low)).unwrap_or(0.0)
        )?;
    }
    writeln!(out, "\nNot judged, with the number of jobs:\n")?;
    let mut of_cases: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for one in &few {
        of_cases.entry((one.workload, one.policy)).or_default().push(format!("`{}` {}", one.share, one.jobs));
    }
    for ((workload, policy), shares) in of_cases {
        writeln!(out, "- {workload}, {policy}: {}", shares.join(", "))?;
    }
    writeln!(out)
}

/// P5, median and P95 of the number of shares within the band if each backlog was held as a whole with the wanted probability.
fn expected(judged: &[OfShare<'_>]) -> [usize; 3] {
    let backlogs: Vec<Vec<usize>> = judged.iter().map(OfShare::backlogs).collect();
    let mut random = Random(1);
    let mut is_within = |sizes: &Vec<usize>| {
        let held: usize = sizes.iter().filter(|_| random.unit() < WANTED).sum();
        IN_BAND.contains(&(held as f64 / sizes.iter().sum::<usize>() as f64))
    };
    let mut counts: Vec<usize> = (0..DRAWS).map(|_| backlogs.iter().filter(|sizes| is_within(sizes)).count()).collect();
    counts.sort_unstable();
    [DRAWS / 20, DRAWS / 2, DRAWS - 1 - DRAWS / 20].map(|index| counts.get(index).copied().unwrap_or(0))
}
