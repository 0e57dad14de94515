//! Time limits: of responses, and of a shutdown.

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::web::GRACE;
use crate::web::serve;
use crate::web::tests::Server;
use crate::web::tests::fixture_snapshot;

#[tokio::test]
async fn a_ledger_that_is_gone_is_not_an_empty_list() {
    let server = Server::serving(fixture_snapshot::snapshot(), mpsc::channel(1).0).await;
    for path in ["/api/v1/jobs", "/api/v1/jobs/job-00"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, &*answer.error_code()), (503, "no_answer"), "{path}");
        assert!(answer.has("retry-after: 2"), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_ledger_that_hangs_costs_a_reader_ten_seconds() {
    let (jobs, mut questions) = mpsc::channel(1);
    let server = Server::serving(fixture_snapshot::snapshot(), jobs).await;
    let asking = async { server.get("/api/v1/jobs").await };
    let hanging = async {
        let question = questions.recv().await;
        // Nothing arrives from here on, so time can be skipped.
        tokio::time::pause();
        let hangs = tokio::time::Instant::now();
        (question, hangs)
    };
    let (answer, (_question, hangs)) = tokio::join!(asking, hanging);
    assert_eq!((answer.status, &*answer.error_code()), (504, "timed_out"));
    assert!((9..=10).contains(&hangs.elapsed().as_secs()), "{:?}", hangs.elapsed());
}

#[tokio::test]
async fn stopping_waits_for_open_requests_but_not_for_ever() {
    let (begun, mut has_begun) = mpsc::channel(1);
    let hangs = move || {
        let begun = begun.clone();
        async move {
            begun.send(()).await.unwrap();
            std::future::pending::<()>().await;
        }
    };
    let router = axum::Router::new().route("/", axum::routing::get(hangs));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let serving = tokio::spawn(async move { serve(listener, router, None, stopped).await });

    let mut stream = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    has_begun.recv().await.unwrap();
    // Nothing arrives from here on, so time can be skipped.
    tokio::time::pause();
    let stopped = tokio::time::Instant::now();
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert_eq!(stopped.elapsed().as_secs(), GRACE.as_secs());
}
