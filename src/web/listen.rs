//! Accepts connections with limits on their number and time, so that no client can block pages, API or probes.
//!
//! A new connection always finds a slot: if all are taken, the one that has been silent longest is closed. A probe
//! sends its request at once, so it gets its response however many other connections are held open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::web::GRACE;
use crate::web::access::Peer;
use crate::web::host_and_origin::Hosts;
use crate::web::security_headers;

/// Maximum open connections. A browser opens up to six.
const MAX_CONNECTIONS: usize = 256;

/// Maximum connections per address: behind a proxy all clients share one.
const MAX_OF_ADDRESS: usize = 192;

/// Time limit for the head of a request, from the connection or from its first byte.
const MAX_READING: Duration = Duration::from_secs(10);

/// Time limit between requests: above the default 60 s of load balancers, so that they close first.
const MAX_IDLE: Duration = Duration::from_secs(75);

/// Time limit for a response, from the head of its request to its last byte.
const MAX_ANSWERING: Duration = Duration::from_secs(60);

/// A connection whose request is incomplete after this long is the first to be closed when slots run out.
const SLOW: Duration = Duration::from_secs(1);

/// Wall time between log lines about too many connections.
const LOG_EVERY: Duration = Duration::from_secs(3_600);

/// Maximum size of a request head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Pause after a failed accept: most likely there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets open requests finish for at most [`GRACE`].
pub(super) async fn serve(listener: TcpListener, router: Router, hosts: Hosts, stop: CancellationToken) {
    let (connections, hosts) = (Connections::default(), Arc::new(hosts));
    let (serving, end) = (TaskTracker::new(), CancellationToken::new());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; retrying");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(slot) = connections.slot_for(peer, end.child_token()) else { continue };
        let peer = Peer(peer.ip());
        serving.spawn(connection(stream, peer, slot, router.clone(), Arc::clone(&hosts), stop.clone()));
    }
    serving.close();
    if tokio::time::timeout(GRACE, serving.wait()).await.is_err() {
        tracing::warn!(grace = ?GRACE, "closing connections whose requests did not finish in time");
        end.cancel();
    }
}

/// Serves one connection until it ends.
async fn connection(
    stream: TcpStream,
    peer: Peer,
    slot: Slot,
    router: Router,
    hosts: Arc<Hosts>,
    stop: CancellationToken,
) {
    let state = slot.state.clone();
    let service = TowerToHyperService::new(router);
    let answer = |request: hyper::Request<Incoming>| {
        state.send_replace(ConnectionState::Answering(Instant::now()));
        let (service, hosts, state) = (service.clone(), Arc::clone(&hosts), state.clone());
        async move {
            let response = match hosts.admit(request.map(Body::new)) {
                Ok(mut request) => {
                    request.extensions_mut().insert(peer);
                    answered(service, request).await
                }
                Err(refusal) => security_headers::with_headers(*refusal),
            };
            Ok::<_, Infallible>(response.map(|body| Body::new(Sent { body, state })))
        }
    };
    let stream = TokioIo::new(Watched { stream, state: state.clone() });
    let mut serving = pin!(http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(stream, service_fn(answer)));
    let mut overdue = pin!(overdue(state.subscribe()));
    let mut stopping = false;
    loop {
        tokio::select! {
            // The client disconnected.
            _ended = serving.as_mut() => return,
            () = overdue.as_mut() => return,
            () = slot.closed.cancelled() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answered(service: TowerToHyperService<Router>, request: Request) -> Response {
    match service.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Completes when a connection exceeds the time limit of its state.
async fn overdue(mut state: watch::Receiver<ConnectionState>) {
    loop {
        let deadline = state.borrow_and_update().deadline();
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

/// State of a connection, and since when.
#[derive(Clone, Copy, Debug)]
enum ConnectionState {
    /// New, or reading a request.
    Reading(Instant),
    /// Responding.
    Answering(Instant),
    /// Waiting for the next request.
    Idle(Instant),
}

impl ConnectionState {
    fn deadline(self) -> Instant {
        match self {
            Self::Reading(since) => since + MAX_READING,
            Self::Answering(since) => since + MAX_ANSWERING,
            Self::Idle(since) => since + MAX_IDLE,
        }
    }

    /// Order in which connections are closed when slots run out: lowest first.
    fn rank(self, now: Instant) -> (u8, Instant) {
        match self {
            Self::Reading(since) if now.duration_since(since) >= SLOW => (0, since),
            Self::Idle(since) => (1, since),
            Self::Reading(since) => (2, since),
            Self::Answering(since) => (3, since),
        }
    }
}

/// All open connections.
#[derive(Clone, Debug, Default)]
struct Connections(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    slots: BTreeMap<u64, OpenConnection>,
    /// When it was last logged that there are too many.
    logged_at: Option<Instant>,
}

#[derive(Debug)]
struct OpenConnection {
    peer: IpAddr,
    state: watch::Receiver<ConnectionState>,
    closed: CancellationToken,
}

/// Slot of a connection, released on drop.
#[derive(Debug)]
struct Slot {
    connections: Connections,
    number: u64,
    state: watch::Sender<ConnectionState>,
    closed: CancellationToken,
}

impl Connections {
    /// Takes a slot for a new connection, closing another one if all are taken. `None` if all others are being
    /// answered and none of them is slow.
    fn slot_for(&self, peer: SocketAddr, closed: CancellationToken) -> Option<Slot> {
        let (now, peer) = (Instant::now(), peer.ip());
        let mut open = self.lock();
        let of_address = open.slots.values().filter(|taken| taken.peer == peer).count();
        if of_address >= MAX_OF_ADDRESS {
            open.log_limit(now, peer, MAX_OF_ADDRESS);
            open.make_room(now, |taken| taken.peer == peer)?;
        } else if open.slots.len() >= MAX_CONNECTIONS {
            open.log_limit(now, peer, MAX_CONNECTIONS);
            open.make_room(now, |_| true)?;
        }
        let state = watch::Sender::new(ConnectionState::Reading(now));
        let number = open.next;
        open.next += 1;
        open.slots.insert(number, OpenConnection { peer, state: state.subscribe(), closed: closed.clone() });
        Some(Slot { connections: self.clone(), number, state, closed })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Logs that a limit of connections is reached, unless that was logged lately.
    fn log_limit(&mut self, now: Instant, peer: IpAddr, limit: usize) {
        if self.logged_at.is_none_or(|at| now.duration_since(at) >= LOG_EVERY) {
            self.logged_at = Some(now);
            let open = self.slots.len();
            tracing::warn!(
                %peer, open, limit,
                "too many connections to the pages, in all or from one address: slow and idle ones are closed, and new ones refused while all are answered"
            );
        }
    }

    /// Closes the least important of the connections that match.
    fn make_room(&mut self, now: Instant, among: impl Fn(&OpenConnection) -> bool) -> Option<()> {
        let rank = |(number, taken): (&u64, &OpenConnection)| (taken.state.borrow().rank(now), *number);
        let ((how, since), number) = self.slots.iter().filter(|(_, taken)| among(taken)).map(rank).min()?;
        let is_busy = how == ConnectionState::Answering(now).rank(now).0;
        if is_busy && now.duration_since(since) < SLOW {
            return None;
        }
        self.slots.remove(&number)?.closed.cancel();
        Some(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.lock().slots.remove(&self.number);
    }
}

/// A stream that reports the beginning of a request.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    state: watch::Sender<ConnectionState>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.state.send_if_modified(|state| {
                let begins = matches!(state, ConnectionState::Idle(_));
                if begins {
                    *state = ConnectionState::Reading(Instant::now());
                }
                begins
            });
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Body of a response. Once it is dropped the response is complete, except for buffered data.
#[derive(Debug)]
struct Sent {
    body: Body,
    state: watch::Sender<ConnectionState>,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.state.send_replace(ConnectionState::Idle(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn too_many_connections_are_said_once_in_an_hour() {
        let connections = Connections::default();
        let mut open = Vec::new();
        let mut connect = |address: u8, number: usize| {
            let peer = SocketAddr::from(([127, 0, 0, address], 1));
            let lines = crate::log_capture::lines(|| {
                open.extend((0..number).filter_map(|_| connections.slot_for(peer, CancellationToken::new())));
            });
            lines.into_iter().filter(|line| line.contains("too many connections")).collect::<Vec<_>>()
        };
        assert_eq!(connect(1, MAX_OF_ADDRESS), [""; 0]);
        let lines = connect(1, 3);
        assert!(
            matches!(lines.as_slice(), [line] if line.contains("limit=192") && line.contains("127.0.0.1")),
            "{lines:?}"
        );
        assert_eq!(connect(2, MAX_CONNECTIONS), [""; 0], "said just now");
        tokio::time::advance(LOG_EVERY).await;
        let lines = connect(3, 1);
        assert!(matches!(lines.as_slice(), [line] if line.contains("limit=256")), "{lines:?}");
    }
}
