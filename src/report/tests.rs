//! The report of a few jobs and hours.

use std::time::Duration;

use super::*;
use trainspotter_core::metrics::EndedJob;
use trainspotter_core::metrics::archived_hour::HourFigures;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules;

fn at(hours: u64) -> Timestamp {
    serde_json::from_value::<Timestamp>("2026-11-20T00:00:00Z".into()).unwrap() + Duration::from_secs(hours * 3_600)
}

fn job(number: u64, share: &str, owner: Option<&str>, failed: Option<&str>) -> EndedJob {
    EndedJob {
        id: format!("job-{number}"),
        queue: "prod".to_owned(),
        share: Some(share.to_owned()),
        owner: owner.map(str::to_owned),
        tags: [("team".to_owned(), format!("team-{}", number % 2))].into(),
        outcome: if failed.is_some() { "failed" } else { "succeeded" }.to_owned(),
        failure_category: failed.map(str::to_owned),
        scheduled_at: Some(at(number)),
        ended_at: at(number),
        first_wait_seconds: Some(number as f64 * 600.0),
        preemptions: Some(1),
        gpu_seconds: Some(36_000.0),
        lost_gpu_seconds: failed.map(|_| 7_200.0),
        dollars: Some(100.0),
        ..EndedJob::default()
    }
}

fn hour(number: u64, share: Option<&str>, figures: &[(&str, f64)]) -> HourFigures {
    HourFigures {
        hour: at(number),
        queue: "prod".to_owned(),
        share: share.map(str::to_owned),
        figures: figures.iter().map(|(column, value)| ((*column).to_owned(), *value)).collect(),
        ..HourFigures::default()
    }
}

fn made(by: &[&str]) -> Report {
    let keys = by.iter().map(|key| Key::named(key)).collect();
    let mut builder = Builder::new(at(0), at(24), keys, vec![rules::Objective::over_all("usual", 1_800.0, 0.8)]);
    for number in 0..6 {
        let failed = (number == 5).then_some("user_code");
        builder.take_job(&job(number, if number < 4 { "research" } else { "=vision" }, Some("ada"), failed));
    }
    builder.take_job(&job(24, "late", None, None));
    for number in 0..24 {
        let of_queue = [
            ("running_busy_gpu_seconds", 36_000.0),
            ("running_idle_gpu_seconds", 3_600.0),
            ("scheduled_gpu_seconds", 0.0),
            ("starting_gpu_seconds", 1_800.0),
            ("running_unknown_gpu_seconds", 0.0),
            ("other_queues_gpu_seconds", 0.0),
            ("unallocated_gpu_seconds", 18_000.0),
            ("unallocated_no_demand_gpu_seconds", 10_800.0),
            ("unallocated_quota_bound_gpu_seconds", 7_200.0),
            ("running_busy_dollars", 100.0),
            ("running_idle_dollars", 10.0),
            ("scheduled_dollars", 0.0),
            ("starting_dollars", 5.0),
            ("running_unknown_dollars", 0.0),
            ("unallocated_dollars", 50.0),
        ];
        builder.take_hour(&hour(number, None, &of_queue));
        let of_share = [
            ("quota_own_gpu_seconds", 3_600.0),
            ("quota_lent_gpu_seconds", 1_800.0),
            ("quota_borrowed_gpu_seconds", 0.0),
            ("quota_idle_gpu_seconds", 1_800.0),
            ("quota_idle_while_waiting_gpu_seconds", 900.0),
            ("lost_failed_gpu_seconds", 300.0),
        ];
        builder.take_hour(&hour(number, Some("research"), &of_share));
    }
    builder.take_hour(&hour(24, None, &[("running_busy_gpu_seconds", 1e9)]));
    builder.finish()
}

#[test]
fn figures_are_those_of_the_time_and_the_largest_wastes_come_first() {
    let report = made(&["share"]);
    assert_eq!((report.jobs, report.used_gpu_hours, report.gpu_hours), (6, 24.0 * 11.5, 24.0 * 16.5));
    assert_eq!((report.used_dollars, report.dollars), (Some(24.0 * 115.0), Some(24.0 * 165.0)));
    let parts: f64 = report.parts.iter().map(|part| part.gpu_hours).sum();
    assert!((parts - report.gpu_hours).abs() < 1e-9);
    let wastes: Vec<_> = report.wastes.iter().map(|waste| (&*waste.name, waste.gpu_hours, waste.dollars)).collect();
    let expected =
        [("no_demand", 72.0, Some(720.0)), ("quota_bound", 48.0, Some(480.0)), ("running_idle", 24.0, Some(240.0))];
    assert_eq!(wastes.len(), 3);
    for (waste, expected) in wastes.iter().zip(expected) {
        assert_eq!((waste.0, waste.1), (expected.0, expected.1));
        assert!((waste.2.unwrap() - expected.2.unwrap()).abs() < 1e-6, "{waste:?}");
    }
    // Waits of 0 to 50 minutes: four of six are within half an hour.
    let objective = &report.objectives[0];
    assert_eq!((objective.waits, objective.is_met()), (6, Some(false)));
    assert!((objective.reached.unwrap() - 4.0 / 6.0).abs() < 1e-9);
    let failure = &report.failures[0];
    assert_eq!(
        (&*failure.category, &*failure.who, failure.jobs, failure.lost_gpu_hours),
        ("user_code", "the job's owner", 1, 2.0)
    );
    let lending = &report.lending[0];
    assert_eq!(
        (lending.lent_gpu_hours, lending.idle_gpu_hours, lending.idle_while_waiting_gpu_hours),
        (12.0, 18.0, 6.0)
    );
    let rows: Vec<_> =
        report.breakdown.iter().map(|row| (&*row.keys[0], row.jobs, row.gpu_hours, row.dollars)).collect();
    assert_eq!(rows, [("research", 4, 40.0, Some(400.0)), ("=vision", 2, 20.0, Some(200.0))]);
    assert_eq!(report.breakdown[0].waits.p50_seconds, Some(1_200.0));
    assert_eq!(serde_json::from_value::<Report>(serde_json::to_value(&report).unwrap()).unwrap(), report);
}

#[test]
fn every_key_breaks_it_down_and_what_a_job_lacks_is_named_none() {
    let keys = |by: &[&str]| made(by).breakdown.iter().map(|row| row.keys.join("/")).collect::<Vec<_>>();
    assert_eq!(keys(&["owner", "team"]), ["ada/team-0", "ada/team-1"]);
    assert_eq!(keys(&["region"]), [""]);
    assert!(text(&made(&["region"])).contains("(none)"));
    assert_eq!(made(&[]).breakdown.len(), 1);
    let empty = Builder::new(at(0), at(1), Vec::new(), Vec::new()).finish();
    assert_eq!((empty.dollars, empty.gpu_hours), (None, 0.0));
    let shown = text(&empty);
    assert!(shown.contains("0 jobs ended. GPU use is unknown") && !shown.contains("0 GPU-hours"), "{shown}");
    assert!(shown.lines().chain(text(&made(&["share"])).lines()).all(|line| line.trim_end() == line), "{shown}");
}

#[test]
fn a_message_has_fewer_rows_and_keeps_its_notes_and_says_where_it_is_cut() {
    let mut report = made(&["share"]);
    let row = report.breakdown[0].clone();
    report.breakdown = vec![row; 100];
    report.notes = vec!["the last word".to_owned()];
    assert!(text(&report).chars().count() > 3_500, "with 40 rows");
    let shown = text_within(&report, 3_500);
    assert!(shown.chars().count() <= 3_500 && shown.ends_with("the last word\n"), "{shown}");
    assert!(shown.contains(" rows: --format csv has all"), "{shown}");
    report.notes = vec!["länger ".repeat(100); 10];
    let cut = text_within(&report, 3_500);
    let end = "... cut at 3500 characters: `trainspotter report` shows all\n";
    assert!(cut.chars().count() <= 3_500 && cut.ends_with(end), "{cut}");
    assert!(text(&report).starts_with(cut.split("  ... and").next().unwrap()), "whole lines");
    assert_eq!(text_within(&made(&["share"]), 10_000), text(&made(&["share"])));
}

#[test]
fn the_text_reads_well() {
    insta::assert_snapshot!(text(&made(&["share", "owner"])));
}

#[test]
fn csv_has_a_row_each_and_no_name_becomes_a_formula() {
    let csv = csv(&made(&["share"])).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 3, "{csv}");
    assert!(lines[0].starts_with("share,from,to,jobs,succeeded,failed,preemptions,gpu_hours,dollars,"), "{csv}");
    assert!(
        lines[1].starts_with("research,2026-11-20T00:00:00Z,2026-11-21T00:00:00Z,4,4,0,4,40.000,400.000,0.000,4,"),
        "{csv}"
    );
    assert!(lines[2].starts_with("'=vision,"), "{csv}");

    let mut report = made(&["share"]);
    for (name, shown) in
        [("\u{1b}[2J\u{202e}@x", "\u{fffd}[2J\u{fffd}@x"), ("\t=1+1", "'\t=1+1"), ("a,\"b\"", "\"a,\"\"b\"\"\"")]
    {
        report.breakdown[0].keys[0] = name.to_owned();
        assert!(super::csv(&report).unwrap().contains(&format!("\n{shown},2026")), "{name:?}");
        let shown = text(&report);
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\t']), "{shown}");
    }
}

#[test]
fn a_page_has_its_pictures_in_it_and_no_name_becomes_markup() {
    let mut report = made(&["share"]);
    report.breakdown[0].keys[0] = "<script>alert(1)</script>&\"".to_owned();
    let page = html(&report);
    assert!(page.matches("<svg").count() >= 3, "{page}");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;"), "{page}");
    for outside in ["http://", "https://", "src=", "href="] {
        assert!(!page.contains(outside), "{outside}");
    }
    for (open, close) in [("<table>", "</table>"), ("<svg", "</svg>"), ("<td>", "</td>"), ("<ol>", "</ol>")] {
        assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
    }
}

#[test]
fn missing_periods_are_noted_with_the_covered_hours() {
    let of = |from: u64, to: u64, hours: &[u64]| {
        let mut builder = Builder::new(at(from), at(to), Vec::new(), Vec::new());
        for number in hours {
            builder.take_hour(&hour(*number, None, &[("running_busy_gpu_seconds", 3_600.0)]));
        }
        builder.finish()
    };
    let whole = of(0, 4, &[0, 1, 2, 3]);
    assert_eq!((whole.hours_from, whole.hours_to, whole.notes.len()), (Some(at(0)), Some(at(4)), 0));
    assert!(summary(&whole).contains("from 2026-11-20 00:00 to 2026-11-20 04:00, jobs held"), "{}", summary(&whole));
    assert!(of(0, 5, &[0, 1, 2, 3]).notes.is_empty(), "the hour that is not over");
    for (report, note) in [
        (of(0, 6, &[4, 5]), "there are no data from 2026-11-20 00:00 to 2026-11-20 04:00"),
        (of(0, 6, &[0, 1]), "nothing was counted from 2026-11-20 02:00 to 2026-11-20 06:00"),
        (of(0, 6, &[0, 1, 4, 5]), "2 hours in between have no rows"),
    ] {
        assert!(report.notes.len() == 1 && report.notes[0].starts_with(note), "{:?}", report.notes);
    }
}

#[test]
fn hours_that_lack_the_gpu_time_of_their_jobs_are_noted() {
    // Ten jobs, one after another, hold ten GPUs for an hour each.
    let of = |busy: f64, hours: std::ops::Range<u64>| {
        let mut builder = Builder::new(at(0), at(24), Vec::new(), Vec::new());
        for number in 0..10 {
            let ended_at = at(number + 1) - Duration::from_secs(1);
            builder.take_job(&EndedJob { scheduled_at: Some(at(number)), ended_at, ..job(number, "a", None, None) });
        }
        for number in hours {
            let held = [("running_busy_gpu_seconds", busy), ("unallocated_gpu_seconds", 1e9)];
            builder.take_hour(&hour(number, None, &held));
        }
        let notes = builder.finish().notes;
        notes.into_iter().find(|note| note.contains("GPU use covers only"))
    };
    assert_eq!(of(36_000.0, 0..24), None);
    assert_eq!(of(33_000.0, 0..10), None, "what polls miss");
    let half = of(18_000.0, 0..10).unwrap();
    assert!(half.contains("about 50 %") && half.contains("poll.interval"), "{half}");
    assert_eq!(of(36_000.0, 5..10), None, "hours without rows are noted elsewhere");
    assert!(of(3_600.0, 5..10).unwrap().contains("about 10 %"));
}

#[test]
fn missing_hours_of_one_of_two_places_are_attributed_to_it() {
    let mut builder = Builder::new(at(0), at(4), Vec::new(), Vec::new());
    for (region, hours) in [("us-east-1", vec![0, 1, 2, 3]), ("eu-west-1", vec![2, 3])] {
        for number in hours {
            let of_region = HourFigures { region: Some(region.to_owned()), ..hour(number, None, &[]) };
            builder.take_hour(&of_region);
        }
    }
    let notes = builder.finish().notes;
    let note = "there are no data from 2026-11-20 00:00 to 2026-11-20 02:00";
    assert!(
        notes.len() == 1 && notes[0].starts_with(note) && notes[0].ends_with("of (unknown)/eu-west-1"),
        "{notes:?}"
    );
}

#[test]
fn quotas_of_two_places_are_two() {
    let mut builder = Builder::new(at(0), at(24), Vec::new(), Vec::new());
    for (region, lent) in [("us-east-1", 3_600.0), ("eu-west-1", 7_200.0)] {
        let figures = [("quota_own_gpu_seconds", 0.0), ("quota_lent_gpu_seconds", lent)];
        builder.take_hour(&HourFigures { region: Some(region.to_owned()), ..hour(0, Some("research"), &figures) });
    }
    let report = builder.finish();
    let lent: Vec<_> = report.lending.iter().map(|row| (row.region.as_deref(), row.lent_gpu_hours)).collect();
    assert_eq!(lent, [(Some("eu-west-1"), 2.0), (Some("us-east-1"), 1.0)]);
    for shown in [text(&report), html(&report)] {
        assert!(shown.contains("/us-east-1/prod") && shown.contains("/eu-west-1/prod"), "{shown}");
    }
}

#[test]
fn queues_without_prices_do_not_make_those_of_others_cheaper() {
    let mut builder = Builder::new(at(0), at(24), Vec::new(), Vec::new());
    let of_queue = [
        ("running_busy_gpu_seconds", 36_000.0),
        ("unallocated_gpu_seconds", 36_000.0),
        ("unallocated_no_demand_gpu_seconds", 36_000.0),
    ];
    let zeros = ["running_idle", "scheduled", "starting", "running_unknown"].map(|part| format!("{part}_dollars"));
    let zeros = zeros.iter().map(|column| (column.as_str(), 0.0));
    let dollars = [("running_busy_dollars", 200.0), ("unallocated_dollars", 100.0)];
    builder.take_hour(&hour(0, None, &of_queue.into_iter().chain(dollars).chain(zeros).collect::<Vec<_>>()));
    builder.take_hour(&HourFigures { queue: "unpriced".to_owned(), ..hour(0, None, &of_queue) });
    let report = builder.finish();
    assert_eq!((report.gpu_hours, report.dollars), (40.0, Some(300.0)));
    let waste = &report.wastes[0];
    assert_eq!((&*waste.name, waste.gpu_hours), ("no_demand", 20.0));
    assert!((waste.dollars.unwrap() - 200.0).abs() < 1e-6, "{waste:?}");
    let note = "prices are missing for 20.0 of 40.0 GPU-hours";
    assert!(report.notes.iter().any(|one| one.starts_with(note)), "{:?}", report.notes);
    assert!(!made(&[]).notes.iter().any(|one| one.starts_with("prices are missing")));
}

#[test]
fn a_tag_that_a_report_is_grouped_by_is_known_however_many_others_there_are() {
    let mut builder = Builder::new(at(0), at(24), vec![Key::named("team")], Vec::new());
    let others = (0..2_000).map(|number| (format!("a-{number:04}"), String::new()));
    builder.take_job(&EndedJob { tags: others.collect(), ..job(1, "research", None, None) });
    builder.take_job(&job(2, "research", None, None));
    assert_eq!((builder.tags().len(), builder.tags().contains("team")), (1_001, true));
}
