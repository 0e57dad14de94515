//! `top`: live view of a running service.

mod details;
mod read_keys;
mod screen;
mod view;

use std::io::IsTerminal as _;
use std::pin::Pin;
use std::time::Duration;

use crate::cli::jobs::Sort;
use crate::cli::remote::{Client, Remote};
use crate::cli::{Failure, explain, print, print_json};
use read_keys::{Key, keys};
use screen::Screen;
use trainspotter_core::model::parse_duration;
use view::{Data, View};

/// Minimum refresh interval: the service polls every half minute, so faster refreshes show nothing new.
const MIN_EVERY: Duration = Duration::from_millis(500);

/// Maximum time between redraws.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// Show a live view of jobs, queues and alerts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter top
  trainspotter top --every 5s --url https://trainspotter.example.com
  trainspotter top > now.txt                          once, as text
  trainspotter top --json | jq .status                once, as JSON

Keys:
  tab, shift-tab, 1 2 3               jobs, queues, alerts
  arrows, j k, page up and down, g G  move
  s                                   change the sort order of jobs
  /                                   filter; enter keeps it, esc clears it
  enter                               details of the job, queue or alert; esc goes back
  ? h                                 these keys
  q, ctrl-c                           quit")]
pub(super) struct Arguments {
    /// Refresh interval.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    every: Duration,
    /// Print one snapshot as JSON: status, jobs, queues, shares and alerts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.every < MIN_EVERY {
        return Err(Failure::usage("--every: at least 500ms"));
    }
    let client = arguments.remote.connect()?;
    let data = Data::ask(&client, Sort::Waiting).await?;
    if arguments.json {
        return print_json(&data.as_json());
    }
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return data.all_lines().iter().try_for_each(|line| print(format_args!("{line}")));
    }
    watch(&client, data, arguments.every).await
}

/// A request in progress.
type Look<'a> = Pin<Box<dyn Future<Output = Result<Data, Failure>> + Send + 'a>>;

/// A request for a job's explanation in progress.
type Story<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, Failure>> + Send + 'a>>;

/// Runs until the user quits.
async fn watch(client: &Client, data: Data, every: Duration) -> Result<(), Failure> {
    let mut view = View::new(client.shown(), data);
    let mut screen = Screen::open().map_err(|error| Failure::failed(format!("cannot use the terminal: {error}")))?;
    let mut pressed = keys();
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    looks.tick().await;
    // Redraw regularly: the terminal's size may change.
    let mut draws = tokio::time::interval(DRAW_EVERY);
    let mut looking: Option<Look<'_>> = None;
    let mut asking: Option<Story<'_>> = None;
    loop {
        screen.draw(&mut view).map_err(|error| Failure::failed(format!("cannot write to the terminal: {error}")))?;
        tokio::select! {
            key = pressed.recv() => match key {
                Some(key) if !ends(&mut view, key) => {
                    if let Some(id) = view.take_asked() {
                        asking = Some(Box::pin(async move { explain::story(client, &id).await }));
                    }
                }
                Some(_) | None => return Ok(()),
            },
            answered = async { Some(asking.as_mut()?.await) }, if asking.is_some() => {
                asking = None;
                if let Some(story) = answered {
                    view.show_story(story);
                }
            }
            // A slow response must not block key presses.
            looked = async { Some(looking.as_mut()?.await) }, if looking.is_some() => {
                looking = None;
                if let Some(looked) = looked {
                    view.take(looked);
                }
            }
            _ = looks.tick(), if looking.is_none() => looking = Some(Box::pin(Data::ask(client, view.sort()))),
            _ = draws.tick() => {}
        }
    }
}

/// Handles a key. Returns whether to quit.
fn ends(view: &mut View, key: Key) -> bool {
    match (view.is_typing(), key) {
        (_, Key::Interrupt) | (false, Key::Letter('q')) => return true,
        (true, Key::Letter(letter)) => view.typed(letter),
        (true, Key::Erase) => view.erase(),
        (true, Key::Enter) => view.keep_filter(),
        (_, Key::Escape) => view.back(),
        (_, Key::Down) | (false, Key::Letter('j')) => view.move_by(1),
        (_, Key::Up) | (false, Key::Letter('k')) => view.move_by(-1),
        (_, Key::PageDown) | (false, Key::Letter(' ')) => view.move_by(view.page()),
        (_, Key::PageUp) => view.move_by(-view.page()),
        (_, Key::First) | (false, Key::Letter('g')) => view.move_by(isize::MIN),
        (_, Key::Last) | (false, Key::Letter('G')) => view.move_by(isize::MAX),
        (_, Key::Tab) => view.turn(1),
        (_, Key::BackTab) => view.turn(2),
        (false, Key::Letter(digit @ '1'..='3')) => view.show(digit),
        (false, Key::Letter('s')) => view.next_sort(),
        (false, Key::Letter('/')) => view.type_filter(),
        (false, Key::Letter('?' | 'h')) => view.show_keys(),
        (false, Key::Enter) => view.enter(),
        (false, Key::Letter(_) | Key::Erase) => {}
    }
    false
}
