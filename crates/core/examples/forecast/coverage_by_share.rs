//! Coverage by share, and how far chance alone moves it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Result, Write};

use trainspotter_core::model::Timestamp;

use crate::replay::Tested;
use crate::report::{Case, coverage, median, percent};
use crate::synthetic::Random;

/// Minimum effective number of backlogs of a share whose coverage is judged.
pub const MIN_BACKLOGS: f64 = 30.0;

/// Minimum distinct jobs of a share that is counted beside those that are judged.
const MIN_JOBS: usize = 50;

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
        self.effective_backlogs() >= MIN_BACKLOGS
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

    /// Kish's effective sample size: the number of backlogs of one size whose held part varies as much by chance.
    fn effective_backlogs(&self) -> f64 {
        let sizes = self.backlogs();
        let (sum, squares) = sizes.iter().fold((0, 0), |(sum, squares), size| (sum + size, squares + size * size));
        (sum * sum) as f64 / squares.max(1) as f64
    }

    fn row(&self, out: &mut impl Write) -> Result<()> {
        writeln!(
            out,
            "| {}, {} | `{}` | {} | {} | {} | {:.1} | {} | {} | {} | {:.0} s |",
            self.workload,
            self.policy,
            self.share,
            self.tested.len(),
            self.jobs,
            self.backlogs().len(),
            self.effective_backlogs(),
            percent(self.coverage),
            self.part(|one| one.actual < one.low),
            self.part(|one| one.actual > one.high + 0.001),
            median(self.tested.iter().map(|one| one.high - one.low)).unwrap_or(0.0)
        )
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
    let within = |shares: &[OfShare<'_>]| shares.iter().filter(|one| one.is_within()).count();
    let [low, middle, high] = expected(&judged);
    let many: Vec<&OfShare<'_>> = judged.iter().chain(&few).filter(|one| one.jobs >= MIN_JOBS).collect();
    writeln!(
        out,
        "### Shares\n
The estimates of one backlog have its error in common: those that are made until the job of the first of them starts. So a share is judged by its
*effective backlogs*, the number of backlogs of one size whose held part would vary as much by chance (Kish's effective sample size). At least {MIN_BACKLOGS} are
needed, whatever the result: with {MIN_BACKLOGS} backlogs that are held or missed as a whole, the standard deviation of the coverage is 7 %. {} of {} judged shares
are within 70 to 90 %. If each backlog were held as a whole with a probability of 80 %, {middle} would be within ({low} to {high} in nine of ten draws). Of all {} shares
with at least {MIN_JOBS} tested jobs, judged or not, {} are within.
\nJudged shares outside it, with the parts of starts before P10 and after P90:\n
{COLUMNS}",
        within(&judged),
        judged.len(),
        many.len(),
        many.iter().filter(|one| one.is_within()).count(),
    )?;
    judged.iter().filter(|one| !one.is_within()).try_for_each(|one| one.row(out))?;
    writeln!(out, "\nNot judged, because so few backlogs say little about the coverage:\n\n{COLUMNS}")?;
    few.iter().try_for_each(|one| one.row(out))?;
    writeln!(out)
}

const COLUMNS: &str = "| workload, policy | share | estimates | jobs | backlogs | effective backlogs | coverage | before | after | median width |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|";

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
