//! Opens a log: restores the state from it, and starts the replica.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::objects::Storage;
use crate::replication::Identity;
use crate::replication::LogError;
use crate::replication::ReplicaStatus;
use crate::replication::lease::Lease;
use crate::replication::lease::Terms;
use crate::replication::object_names;
use crate::replication::record;
use crate::replication::record::Header;
use crate::replication::record::Purpose;
use crate::replication::replica_task::Log;
use crate::replication::replica_task::Order;
use crate::replication::replica_task::Replica;
use crate::replication::restore::Contents;
use crate::replication::restore::Folder;
use crate::replication::restore::Restored;
use crate::replication::restore::restore;
use crate::replication::snapshot;
use crate::replication::time_limit::within;
use crate::store::Position;
use crate::store::Store;
use crate::store::StoreHandle;
use trainspotter_clock::Clock;

/// A running replica.
#[derive(Debug)]
pub struct Replicas {
    /// Its store.
    pub store: StoreHandle,
    /// Its status.
    pub status: watch::Receiver<ReplicaStatus>,
    /// Whether this replica is assigned the target; otherwise it leaves it to others for a lease.
    pub is_assigned: Arc<AtomicBool>,
    orders: mpsc::Sender<Order>,
}

impl Replicas {
    /// Gives up the leadership, so that another replica can lead at once: permanently, or until this one is
    /// assigned again. Returns once this is in the log, or has failed.
    pub async fn hand_over(&self, for_good: bool) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::HandOver { for_good, done }).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

/// Brings a store to the end of the log, for a replica that does not run yet. If there is no log, it is created when
/// the replica runs.
pub(super) async fn prepare<S: Storage + 'static>(
    mut store: Store,
    file: Option<&Path>,
    storage: Arc<S>,
    identity: Identity,
    terms: Terms,
    clock: Clock,
) -> Result<Replica<S>, LogError> {
    let began = Instant::now();
    let contents = Contents::of(&*storage, terms.request()).await?;
    store.follow_log().map_err(LogError::store)?;
    let before = store.position().map_err(LogError::store)?;
    let as_it_is = |position| Restored { position, damaged: None };
    let Restored { position, damaged } = match &before {
        _ if contents.is_empty() => as_it_is(first(&mut store, &*storage, &identity, terms).await?),
        Some(position) if has(&*storage, position, terms).await? => as_it_is(position.clone()),
        Some(_) | None => {
            set_aside(&store, file, before.is_some(), clock)?;
            restore(&*storage, &mut store, &identity.writer, terms.request()).await?
        }
    };
    let known = before.map(|before| before.writer);
    let (position, last) = follow(&mut store, &*storage, position, &identity, terms).await?;
    identity.check_account(&store)?;
    let is_vacant = last.as_ref().is_none_or(|last| {
        // The last writer used this very file and is gone: nobody else has the file now.
        last.purpose == Purpose::HandOver || (file.is_some() && known.as_ref() == Some(&last.writer))
    });
    let lease = Lease::new(terms, is_vacant, began.elapsed());
    // In place of a damaged snapshot a new one is written soon.
    let snapshot_at = if damaged.is_some() { 0 } else { contents.newest_copy() + snapshot::RECORDS_PER_SNAPSHOT };
    let log = Log { storage, position, last, snapshot_at, damaged };
    Ok(Replica::new((store, file.map(Path::to_owned)), log, identity, lease, clock, began))
}

/// Opens a log for a service, and runs the replica on a separate thread. `file` is that of the store; `None` for a
/// store in memory. `is_assigned` says whether the replica is assigned the target at first (see [`Replicas`]).
///
/// # Errors
/// The log cannot be read or written, is broken, of a newer version or of another service.
pub async fn open<S: Storage + 'static>(
    (store, file): (Store, Option<&Path>),
    storage: S,
    identity: Identity,
    terms: Terms,
    clock: Clock,
    is_assigned: bool,
) -> Result<Replicas, LogError> {
    let (file, storage) = (file.map(Path::to_owned), Arc::new(storage));
    let (opened, is_open) = oneshot::channel();
    let running = move || async move {
        let opening = async {
            let replica = prepare(store, file.as_deref(), storage, identity, terms, clock).await?;
            replica.check_right_to_write().await?;
            replica.is_assigned().store(is_assigned, Ordering::SeqCst);
            Ok(replica)
        };
        run_opened(opening, opened).await;
    };
    // What the replica logs has the labels of its target.
    let span = tracing::Span::current();
    let running = move || running().instrument(span);
    let ended = |_| Err(LogError::Local("the store's thread panicked, which is a bug".to_owned()));
    #[cfg(test)]
    let Some(running) = crate::simulation::run_here(running) else { return is_open.await.unwrap_or_else(ended) };
    let runtime = tokio::runtime::Handle::current();
    // Building a large state from the log takes seconds; other tasks continue meanwhile.
    let started = std::thread::Builder::new().name("store".to_owned()).spawn(move || runtime.block_on(running()));
    started.map_err(|error| LogError::Local(format!("cannot start the store's thread: {error}")))?;
    is_open.await.unwrap_or_else(ended)
}

/// Runs a replica once it is open, unless the caller is gone.
async fn run_opened<S: Storage + 'static>(
    opening: impl Future<Output = Result<Replica<S>, LogError>>,
    mut opened: oneshot::Sender<Result<Replicas, LogError>>,
) {
    let opening = tokio::select! {
        biased;
        () = opened.closed() => return,
        opening = opening => opening,
    };
    let replica = match opening {
        Ok(replica) => replica,
        Err(error) => {
            // The caller may be gone.
            let _ = opened.send(Err(error));
            return;
        }
    };
    let (orders, ordered) = mpsc::channel(1);
    let (status, is_assigned) = (replica.status(), replica.is_assigned());
    let (store, calls) = StoreHandle::behind(replica.fence());
    if opened.send(Ok(Replicas { store, status, is_assigned, orders })).is_ok() {
        replica.run(calls, ordered).await;
    }
}

/// Targets of the service that owns the log; `None` if there is no log yet. A log with a snapshot only belongs to
/// nobody.
///
/// # Errors
/// The log cannot be read, is broken or of a newer version.
pub async fn watches<S: Storage>(storage: &S, terms: Terms) -> Result<Option<String>, LogError> {
    let contents = Contents::of(storage, terms.request()).await?;
    let Some(number) = contents.first_record() else { return Ok(None) };
    let name = object_names::record(number);
    let Some(bytes) = within(terms.request(), storage.get(&name)).await? else { return Ok(None) };
    Ok(Some(record::decode(&name, &bytes, number, Store::schema_version())?.0.watches))
}

/// Creates a log with the contents of the store.
async fn first<S: Storage>(
    store: &mut Store,
    storage: &S,
    identity: &Identity,
    terms: Terms,
) -> Result<Position, LogError> {
    let digest = if store.is_empty().map_err(LogError::store)? {
        String::new()
    } else {
        let folder = Folder::new()?;
        let copy = folder.copy();
        store.copy_to(&copy).map_err(LogError::store)?;
        snapshot::write_first(storage, &copy, terms.request()).await?
    };
    let position =
        Position { number: 0, digest: digest.into_bytes(), writer: identity.writer.clone(), is_ahead: false };
    store.write_position(&position).map_err(LogError::store)?;
    Ok(position)
}

/// Whether a store is a copy of this log.
async fn has<S: Storage>(storage: &S, position: &Position, terms: Terms) -> Result<bool, LogError> {
    if position.is_ahead || position.number == 0 {
        return Ok(false);
    }
    let name = object_names::record(position.number);
    let Some(bytes) = within(terms.request(), storage.get(&name)).await? else { return Ok(false) };
    let (header, _) = record::decode(&name, &bytes, position.number, Store::schema_version())?;
    Ok(header.digest.as_bytes() == position.digest)
}

/// Moves a state that is not part of this log aside before the log's state replaces it.
fn set_aside(store: &Store, file: Option<&Path>, was_in_a_log: bool, clock: Clock) -> Result<(), LogError> {
    let Some(file) = file else { return Ok(()) };
    if was_in_a_log || store.is_empty().map_err(LogError::store)? {
        return Ok(());
    }
    let mut to = file.as_os_str().to_owned();
    to.push(format!(".before-log-{}", clock.now().millis()));
    store.copy_to(Path::new(&to)).map_err(LogError::store)?;
    tracing::warn!(
        to = %Path::new(&to).display(),
        "the state file did not come from this replication log; the log's state replaces it, and the old state was \
         copied to this path"
    );
    Ok(())
}

/// Applies the existing records.
async fn follow<S: Storage>(
    store: &mut Store,
    storage: &S,
    mut position: Position,
    identity: &Identity,
    terms: Terms,
) -> Result<(Position, Option<Header>), LogError> {
    let mut last = None;
    if position.number > 0 {
        let name = object_names::record(position.number);
        if let Some(bytes) = within(terms.request(), storage.get(&name)).await? {
            last = Some(record::decode(&name, &bytes, position.number, Store::schema_version())?.0);
        }
    }
    loop {
        let number = position.number + 1;
        let name = object_names::record(number);
        let Some(bytes) = within(terms.request(), storage.get(&name)).await? else { break };
        let (header, body) = record::decode(&name, &bytes, number, Store::schema_version())?;
        if header.watches != identity.watches {
            return Err(LogError::OfAnother { found: header.watches, own: identity.watches.clone() });
        }
        if header.before.as_bytes() != position.digest {
            let problem = format!("it does not follow record {}: {}", position.number, record::REPAIR);
            return Err(LogError::Unreadable { name, problem });
        }
        position = Position {
            number,
            digest: header.digest.clone().into_bytes(),
            writer: identity.writer.clone(),
            is_ahead: false,
        };
        store.apply(&record::changes(&name, body)?, &position).map_err(LogError::store)?;
        last = Some(header);
    }
    Ok((position, last))
}
