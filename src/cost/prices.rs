//! The price table: the embedded one, with parts replaced by a file.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use trainspotter_core::model::Timestamp;
use trainspotter_core::yaml::{self, Document, Problem, Problems, nearest};

/// The price table in the repository.
const SHIPPED: &str = include_str!("../../config/prices.yaml");
/// Its name in errors.
const SHIPPED_NAME: &str = "config/prices.yaml";
/// Maximum price of a unit; more is a typo.
const MAX_DOLLARS: f64 = 100_000.0;
/// Tolerance for a date: time zones differ.
const ONE_DAY: Duration = Duration::from_secs(86_400);
/// Maximum tiers of a price.
const MAX_TIERS: usize = 20;

/// An item with a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A CloudWatch custom metric, per month.
    Metric,
    /// A `PutMetricData` request.
    PutMetricData,
    /// A gigabyte of metrics to CloudWatch by OTLP.
    OtlpGigabyte,
    /// A metric requested by `GetMetricData`.
    GetMetricData,
    /// A standard alarm, per month.
    Alarm,
    /// A composite alarm, per month.
    CompositeAlarm,
    /// A dashboard, per month.
    Dashboard,
    /// A request that writes an object.
    S3Put,
    /// A request that reads an object.
    S3Get,
    /// A gigabyte stored, per month.
    S3Gigabyte,
    /// A Fargate vCPU, per hour.
    FargateVcpu,
    /// A gigabyte of Fargate memory, per hour.
    FargateGigabyte,
}

impl Item {
    /// All items.
    pub const ALL: [Self; 12] = [
        Self::Metric,
        Self::PutMetricData,
        Self::OtlpGigabyte,
        Self::GetMetricData,
        Self::Alarm,
        Self::CompositeAlarm,
        Self::Dashboard,
        Self::S3Put,
        Self::S3Get,
        Self::S3Gigabyte,
        Self::FargateVcpu,
        Self::FargateGigabyte,
    ];

    /// Its key in the table.
    pub fn key(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::PutMetricData => "put_metric_data",
            Self::OtlpGigabyte => "otlp_gigabyte",
            Self::GetMetricData => "get_metric_data",
            Self::Alarm => "alarm",
            Self::CompositeAlarm => "composite_alarm",
            Self::Dashboard => "dashboard",
            Self::S3Put => "s3_put",
            Self::S3Get => "s3_get",
            Self::S3Gigabyte => "s3_gigabyte",
            Self::FargateVcpu => "fargate_vcpu",
            Self::FargateGigabyte => "fargate_gigabyte",
        }
    }

    fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.key() == key)
    }
}

/// The price of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// Upper bound and price of each tier, ascending; the last has no bound.
    tiers: Vec<(f64, f64)>,
    /// The quantity that a price is for.
    per: f64,
    /// Its source.
    pub source: String,
    /// Date of the lookup, as in 2026-11-27.
    pub date: String,
    /// Whether it has a public source.
    pub confirmed: bool,
    /// Whether it is from a file that replaces shipped prices.
    is_of_file: bool,
}

impl Price {
    /// Cost of a quantity, in dollars.
    pub fn of(&self, quantity: f64) -> f64 {
        let (mut dollars, mut counted) = (0.0, 0.0);
        for (up_to, price) in &self.tiers {
            let here = (quantity.min(*up_to) - counted).max(0.0);
            dollars += here / self.per * price;
            counted += here;
        }
        dollars
    }

    /// Largest integer quantity for a number of dollars.
    pub fn affordable(&self, dollars: f64) -> f64 {
        let (mut left, mut counted) = (dollars, 0.0);
        for (up_to, price) in &self.tiers {
            let all = up_to - counted;
            let whole = all / self.per * price;
            if whole.is_nan() || whole > left {
                return (counted + if *price > 0.0 { left / price * self.per } else { all }).floor();
            }
            left -= whole;
            counted = *up_to;
        }
        counted
    }

    /// Price of the first unit, in dollars.
    pub fn of_first(&self) -> f64 {
        self.of(1.0)
    }
}

/// All prices.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceTable {
    prices: BTreeMap<Item, Price>,
    /// The file that replaced some of the shipped prices, and the latest date in it.
    replaced_by: Option<(String, String)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    prices: BTreeMap<String, PriceForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceForm {
    dollars: Option<f64>,
    tiers: Option<Vec<TierForm>>,
    #[serde(default = "one")]
    per: f64,
    #[serde(default)]
    source: String,
    date: Option<String>,
    #[serde(default = "yes")]
    confirmed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierForm {
    up_to: Option<f64>,
    dollars: f64,
}

impl PriceTable {
    /// The embedded table.
    ///
    /// # Errors
    ///
    /// It cannot be parsed; a test rules this out for released binaries.
    pub fn shipped() -> Result<Self, Problems> {
        static TABLE: LazyLock<Result<PriceTable, Problems>> = LazyLock::new(|| {
            let prices = read(SHIPPED_NAME, SHIPPED)?;
            Ok(PriceTable { prices, replaced_by: None })
        });
        TABLE.clone()
    }

    /// The embedded table, with prices replaced by those of a file.
    ///
    /// # Errors
    ///
    /// All errors in the file.
    pub fn with_file(name: &str, text: &str) -> Result<Self, Problems> {
        let mut table = Self::shipped()?;
        let mut prices = read(name, text)?;
        prices.values_mut().for_each(|price| price.is_of_file = true);
        table.replaced_by = Some((name.to_owned(), latest(&prices).to_owned()));
        table.prices.extend(prices);
        Ok(table)
    }

    /// Price of an item, if the table has it.
    pub fn price(&self, item: Item) -> Option<&Price> {
        self.prices.get(&item)
    }

    /// Cost of a quantity in dollars; `None` without a price.
    pub fn cost(&self, item: Item, quantity: f64) -> Option<f64> {
        Some(self.price(item)?.of(quantity))
    }

    /// Source of the prices, in a few words.
    pub fn in_words(&self) -> String {
        let shipped = "US East (N. Virginia), without free tiers";
        match &self.replaced_by {
            None => format!("the shipped table of {}: {shipped}", latest(&self.prices)),
            Some((file, date)) if date.is_empty() => format!("the shipped table, for {file} has none: {shipped}"),
            Some((file, date)) => format!("{file}, last dated {date}; other prices are from the shipped table"),
        }
    }

    /// Doubts about the prices of the file at `now`, one sentence each: a day to come, and prices without a source.
    pub fn doubts(&self, now: Timestamp) -> Vec<String> {
        let Some((file, _)) = &self.replaced_by else { return Vec::new() };
        // Somewhere it is tomorrow already.
        let latest = (now + ONE_DAY).to_string();
        let latest = latest.get(.."2026-11-27".len()).unwrap_or_default();
        let items = |doubtful: &dyn Fn(&Price) -> bool| {
            let doubtful = self.prices.iter().filter(|(_, price)| price.is_of_file && doubtful(price));
            let keys: Vec<&str> = doubtful.map(|(item, _)| item.key()).collect();
            keys.join(", ")
        };
        let of_future = items(&|price| price.date.as_str() > latest);
        let without_source = items(&|price| price.source.is_empty());
        let doubts = [
            (of_future, "dated in the future: correct the date, or use these prices from then on"),
            (without_source, "without a `source`: nobody can check them"),
        ];
        let named = doubts.into_iter().filter(|(items, _)| !items.is_empty());
        named.map(|(items, why)| format!("Prices of {file} ({items}) are {why}.")).collect()
    }

    /// Whether all items have a price.
    #[cfg(test)]
    fn is_whole(&self) -> bool {
        Item::ALL.iter().all(|item| self.prices.contains_key(item))
    }
}

/// The latest date of some prices; empty without prices.
fn latest(prices: &BTreeMap<Item, Price>) -> &str {
    prices.values().map(|price| price.date.as_str()).max().unwrap_or_default()
}

fn read(name: &str, text: &str) -> Result<BTreeMap<Item, Price>, Problems> {
    let document: Document<Form> = yaml::read(name, text)?;
    let mut problems = Vec::new();
    let mut prices = BTreeMap::new();
    for (key, form) in &document.value.prices {
        let path = format!("prices[{key}]");
        let Some(item) = Item::from_key(key) else {
            let hint = nearest(key, Item::ALL.iter().map(|item| item.key()));
            let hint = hint.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let known: Vec<&str> = Item::ALL.iter().map(|item| item.key()).collect();
            problems.push(document.problem(&path, format!("`{key}` is not a priced item: {}{hint}", known.join(", "))));
            continue;
        };
        let before = problems.len();
        let tiers = tiers(&document, &path, form, &mut problems);
        check(&document, &path, form, &mut problems);
        if problems.len() == before {
            let date = form.date.clone().unwrap_or_default();
            let (source, confirmed) = (form.source.trim().to_owned(), form.confirmed);
            let price = Price { tiers, per: form.per, source, date, confirmed, is_of_file: false };
            prices.insert(item, price);
        }
    }
    document.conclude(problems)?;
    Ok(prices)
}

fn tiers(document: &Document<Form>, path: &str, form: &PriceForm, problems: &mut Vec<Problem>) -> Vec<(f64, f64)> {
    let mut problem = |path: &str, message: &str| problems.push(document.problem(path, message));
    let not_dollars = "is not a price; write dollars like 0.30";
    match (&form.dollars, &form.tiers) {
        (Some(dollars), None) => {
            if !(0.0..=MAX_DOLLARS).contains(dollars) {
                problem(&format!("{path}.dollars"), not_dollars);
            }
            vec![(f64::INFINITY, *dollars)]
        }
        (None, Some(tiers)) => {
            if tiers.is_empty() || tiers.len() > MAX_TIERS {
                problem(&format!("{path}.tiers"), "must be one to twenty tiers");
            }
            let mut ends = Vec::new();
            for (index, tier) in tiers.iter().enumerate() {
                let at = |key: &str| format!("{path}.tiers[{index}].{key}");
                if !(0.0..=MAX_DOLLARS).contains(&tier.dollars) {
                    problem(&at("dollars"), not_dollars);
                }
                let is_last = index + 1 == tiers.len();
                let before = ends.last().map_or(0.0, |(up_to, _)| *up_to);
                match tier.up_to {
                    Some(_) if is_last => problem(&at("up_to"), "the last tier is open-ended: remove its `up_to`"),
                    None if !is_last => {
                        problem(&format!("{path}.tiers[{index}]"), "only the last tier is open-ended: set `up_to`");
                    }
                    Some(up_to) if !(up_to.is_finite() && up_to > before) => {
                        problem(&at("up_to"), "must be larger than that of the tier before");
                    }
                    Some(_) | None => {}
                }
                ends.push((tier.up_to.unwrap_or(f64::INFINITY), tier.dollars));
            }
            ends
        }
        (Some(_), Some(_)) => {
            problem(&format!("{path}.tiers"), "a price has either `dollars` or `tiers`");
            Vec::new()
        }
        (None, None) => {
            problem(path, "`dollars` is missing, or `tiers`");
            Vec::new()
        }
    }
}

fn check(document: &Document<Form>, path: &str, form: &PriceForm, problems: &mut Vec<Problem>) {
    if !(form.per.is_finite() && form.per > 0.0) {
        problems
            .push(document.problem(&format!("{path}.per"), "must be above 0: it is the amount that the price covers"));
    }
    match &form.date {
        None => {
            problems.push(document.problem(path, "`date` is missing: when the price was looked up, like 2026-11-27"))
        }
        // Dates are compared as texts, and other forms of a day would be out of order.
        Some(date) if date.parse::<jiff::civil::Date>().is_ok_and(|day| day.to_string() != *date) => {
            problems
                .push(document.problem(&format!("{path}.date"), format!("`{date}` is not written like 2026-11-27")));
        }
        Some(date) if date.parse::<jiff::civil::Date>().is_err() => {
            let message = format!("`{date}` is not a day; write it like 2026-11-27");
            problems.push(document.problem(&format!("{path}.date"), message));
        }
        Some(_) => {}
    }
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_has_every_price_with_source_and_date() {
        let table = PriceTable::shipped().unwrap();
        assert!(table.is_whole());
        for (item, price) in &table.prices {
            assert!(!price.source.is_empty() && price.of_first() > 0.0, "{item:?}");
        }
        assert!(table.in_words().contains("2026"), "{}", table.in_words());
    }

    #[test]
    fn each_tier_is_paid_at_its_own_price_and_what_can_be_had_is_the_inverse() {
        let table = PriceTable::shipped().unwrap();
        let metric = table.price(Item::Metric).unwrap();
        let check = |series: f64, dollars: f64| {
            assert!((metric.of(series) - dollars).abs() < 1e-6, "{series}: {}", metric.of(series));
            assert!(
                (metric.affordable(dollars + 1e-9) - series).abs() < 1e-6,
                "{dollars}: {}",
                metric.affordable(dollars)
            );
        };
        check(0.0, 0.0);
        check(100.0, 30.0);
        check(10_000.0, 3_000.0);
        check(10_001.0, 3_000.1);
        check(250_000.0, 27_000.0);
        check(1_000_000.0, 64_500.0);
        check(1_000_100.0, 64_502.0);
        assert!((metric.affordable(29.99) - 99.0).abs() < 1e-9, "a whole number");
        assert!((table.cost(Item::GetMetricData, 43_800.0).unwrap() - 0.438).abs() < 1e-9);
    }

    #[test]
    fn a_price_of_the_future_or_of_unknown_origin_is_doubted() {
        let now = Timestamp::from_millis(1_796_000_000_000); // 2026-11-30
        let file = "prices:
  alarm: { dollars: 1, date: 2026-11-30, source: https://example.com }
  dashboard: { dollars: 1, date: 2026-12-01, source: https://example.com }
  metric: { dollars: 1, date: 2026-12-02, source: https://example.com }
  s3_put: { dollars: 1, date: 2999-01-01, source: https://example.com }
  s3_get: { dollars: 1, date: 2026-11-01, source: ' ' }
  s3_gigabyte: { dollars: 1, date: 2026-11-01 }
";
        let doubts = PriceTable::with_file("mine.yaml", file).unwrap().doubts(now);
        let [future, source] = doubts.as_slice() else { panic!("{doubts:#?}") };
        assert!(future.starts_with("Prices of mine.yaml (metric, s3_put) are dated in the future"), "{future}");
        assert!(source.starts_with("Prices of mine.yaml (s3_get, s3_gigabyte) are without a `source`"), "{source}");
        assert_eq!(PriceTable::shipped().unwrap().doubts(Timestamp::default()), Vec::<String>::new());
        let odd =
            PriceTable::with_file("mine.yaml", "prices: { alarm: { dollars: 1, date: '20261130' } }").unwrap_err();
        assert!(odd.to_string().contains("is not written like"), "{odd}");
    }

    #[test]
    fn a_file_replaces_what_it_has_and_every_mistake_has_its_place() {
        let text = "prices:\n  otlp_gigabyte: { dollars: 0.1, date: 2026-12-01 }\n";
        let table = PriceTable::with_file("mine.yaml", text).unwrap();
        assert!((table.cost(Item::OtlpGigabyte, 10.0).unwrap() - 1.0).abs() < 1e-9);
        assert!(table.is_whole() && table.in_words().starts_with("mine.yaml, last dated 2026-12-01;"));
        let older = PriceTable::with_file("mine.yaml", &text.replace("2026-12-01", "2025-02-03")).unwrap();
        assert!(older.in_words().starts_with("mine.yaml, last dated 2025-02-03;"), "{}", older.in_words());
        let wrong = "\
prices:
  metrik: { dollars: 1, date: 2026-12-01 }
  alarm: { dollars: -1, date: 2026-12-01 }
  dashboard: { dollars: 3, date: yesterday }
  s3_get: { dollars: 1, tiers: [{ dollars: 1 }], date: 2026-12-01 }
  s3_put: { date: 2026-12-01 }
  s3_gigabyte: { dollars: 1 }
  fargate_vcpu: { dollars: 1, per: 0, date: 2026-12-01 }
  get_metric_data: { dollars: cheap, date: 2026-12-01 }
  metric:
    tiers: [{ up_to: 10, dollars: 1 }, { up_to: 5, dollars: 1 }, { dollars: .nan }]
    date: 2026-12-01
";
        let problems = PriceTable::with_file("mine.yaml", wrong).unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|(line, ..)| line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 11, 11], "{problems}");
        assert!(problems.to_string().contains("did you mean `metric`?"), "{problems}");
    }
}
