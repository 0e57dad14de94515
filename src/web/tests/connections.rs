//! Clients that hold connections open: each is closed eventually, and a probe always gets through.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::web::tests::Server;
use crate::web::tests::roles::OPERATE;

const BEGUN: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n";

#[tokio::test]
async fn probes_get_through_however_many_connections_are_held() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for number in 0..600 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // A third sends nothing, a third begins a request, a third has had a response.
        let bytes: &[u8] = match number % 3 {
            0 => b"",
            1 => BEGUN,
            _ => b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        };
        // Some have been closed.
        let _ = stream.write_all(bytes).await;
        held.push(stream);
        if number % 50 == 0 {
            for path in ["/healthz", "/readyz", "/metrics", "/"] {
                let answer = tokio::time::timeout(Duration::from_secs(10), server.get(path)).await;
                assert_eq!(answer.map(|answer| answer.status).ok(), Some(200), "{path} with {number} held");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_line_by_line_is_not_waited_for() {
    let server = Server::start().await;
    let (mut reading, mut writing) = TcpStream::connect(server.address).await.unwrap().into_split();
    let began = Instant::now();
    writing.write_all(BEGUN).await.unwrap();
    let dripping = tokio::spawn(async move {
        while writing.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    });
    let read = reading.read(&mut [0; 16]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert!((10..=12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_not_waited_for() {
    let server = Server::lively().await;
    for (framing, part) in [("content-length: 16000", " "), ("transfer-encoding: chunked", "1\r\n \r\n")] {
        let (mut reading, mut writing) = TcpStream::connect(server.address).await.unwrap().into_split();
        let head = format!(
            "POST /api/v1/silences HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {OPERATE}\r\n\
             content-type: application/json\r\n{framing}\r\n\r\n"
        );
        let began = Instant::now();
        writing.write_all(head.as_bytes()).await.unwrap();
        let dripping = tokio::spawn(async move {
            while writing.write_all(part.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
        let mut answer = Vec::new();
        let _ = reading.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 504"), "{framing}: {answer}");
        assert!((10..=15).contains(&began.elapsed().as_secs()), "{framing}: {:?}", began.elapsed());
        dripping.abort();
    }
}

/// The kernel buffers a few megabytes for a client that does not read; the rest waits, up to the time limit of a
/// response.
#[tokio::test(start_paused = true)]
async fn a_reader_that_reads_nothing_is_not_waited_for() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let began = Instant::now();
    let asking = async {
        while stream.write_all(b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n").await.is_ok() {}
    };
    tokio::time::timeout(Duration::from_secs(600), asking).await.expect("it is closed");
    assert!((60..=76).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let opened = Instant::now();
    let read = stream.read(&mut [0; 16]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert_eq!(opened.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_connection_rests_between_requests_for_longer_than_load_balancers_let_it() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(BEGUN).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
        while !answer.ends_with(b"}") {
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..read]);
        }
        pass(Duration::from_secs(60)).await;
    }
    pass(Duration::from_secs(16)).await;
    let read = stream.read(&mut [0; 16]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

/// Advances the time at once.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
