//! Renders the page and its picture.

use std::fmt::Write;

use super::watch::Watched;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 50.0;
const BOTTOM: f64 = 220.0;
const TOP: f64 = 20.0;

pub fn markdown(parts: &Watched, shares: &Watched) -> String {
    let mut page = "\
# The same GPUs under two policies

Five teams share a hundred `ml.p4d.24xlarge` (800 GPUs). Each team submits a few jobs all day, and a sweep of ninety jobs at a different hour. In the
first run every team has its own FIFO queue with a service environment of twenty instances. In the second all teams have quota shares of twenty
instances in one queue, which lend unused capacity (`LEND_AND_BORROW`). The jobs are identical. Trainspotter monitors both runs until all jobs have ended.

![GPUs busy by hour](utilisation.svg)

| | fixed partitions | lending shares |
|---|---|---|
"
    .to_owned();
    let percent = |fraction: f64| format!("{:.0} %", fraction * 100.0);
    let minutes = |seconds: f64| format!("{:.0} min", seconds / 60.0);
    let mut row = |what: &str, figure: &dyn Fn(&Watched) -> String| {
        let _ = writeln!(page, "| {what} | {} | {} |", figure(parts), figure(shares));
    };
    row("GPU utilisation, busiest hour", &|watched| percent(watched.peak()));
    row("GPU utilisation, mean", &|watched| percent(watched.mean()));
    row("GPU utilisation while jobs wait", &|watched| percent(watched.while_waiting().0));
    row("time in which jobs wait", &|watched| percent(watched.while_waiting().1));
    row("first wait, median", &|watched| minutes(watched.wait(0.5)));
    row("first wait, 95th percentile", &|watched| minutes(watched.wait(0.95)));
    row("jobs that succeeded", &|watched| watched.succeeded.to_string());
    row("preemptions to reclaim lent capacity", &|watched| watched.preemptions.to_string());
    page += "
The work is the same, so the mean hardly changes; lending changes when the work is done. With lending, a sweep uses the GPUs that four quiet teams leave
idle, and ends before the next sweep begins. In a fixed partition it queues for hours while most GPUs are idle. The price is preemption: a share
that reclaims its capacity stops borrowing jobs, which repeat their work from the start.

A GPU counts as utilised if its host reports at least 10 %, polled every two minutes. The first ten minutes of a job do not count,
so even a full cluster shows less than 100 %.

Measured by `tests/models/fifo_vs_shares.rs`; `UPDATE_DOCS=1 cargo test --test models fifo_vs_shares` regenerates this page.
";
    page
}

pub fn picture(parts: &Watched, shares: &Watched) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for percent in [0, 20, 40, 60, 80, 100] {
        let y = height(f64::from(percent) / 100.0);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{WIDTH}\" stroke=\"#ddd\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{percent} %</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for (watched, colour, name, x) in
        [(parts, "#b3541e", "fixed partitions", 60.0), (shares, "#1f6f78", "lending shares", 180.0)]
    {
        let by_hour = watched.by_hour();
        let step = (WIDTH - LEFT) / by_hour.len() as f64;
        let mut path = String::new();
        for (hour, busy) in by_hour.iter().enumerate() {
            let from = if hour == 0 { format!("M{LEFT} ") } else { "V".to_owned() };
            let _ = write!(path, "{from}{:.1}H{:.1}", height(*busy), LEFT + step * (hour + 1) as f64);
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"14\" fill=\"{colour}\" font-weight=\"bold\">{name}</text>");
    }
    let hours = parts.by_hour().len();
    for day in 0..hours / 24 {
        let x = LEFT + (WIDTH - LEFT) * (day * 24) as f64 / hours as f64;
        let _ =
            writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#444\">day {}</text>", x + 4.0, BOTTOM + 18.0, day + 1);
    }
    svg += "</svg>\n";
    svg
}

fn height(fraction: f64) -> f64 {
    BOTTOM - fraction * (BOTTOM - TOP)
}
