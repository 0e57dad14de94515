//! An S3 bucket that can be unreachable. Its objects are files, so that readers of folders work with it.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The bucket `bucket`, at a fixed address.
pub struct Bucket {
    address: SocketAddr,
    folder: PathBuf,
    serving: Option<JoinHandle<()>>,
}

impl Bucket {
    /// A bucket that is not reachable yet.
    pub async fn out_of_reach(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), folder, serving: None }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Folder of its objects below a prefix.
    pub fn below(&self, prefix: &str) -> PathBuf {
        self.folder.join("bucket").join(prefix)
    }

    /// Makes it reachable.
    pub async fn serve(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let app = axum::Router::new().fallback(answer).with_state(self.folder.clone());
        self.serving = Some(tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }));
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

async fn answer(State(folder): State<PathBuf>, method: Method, uri: Uri, body: Bytes) -> (StatusCode, Vec<u8>) {
    if uri.query().is_some_and(|query| query.contains("list-type=2")) {
        // Nobody needs the names here.
        let nothing = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        return (StatusCode::OK, nothing.to_vec());
    }
    let name = uri.path().trim_start_matches('/').replace("%3D", "=").replace("%2B", "+");
    let path = folder.join(name);
    if method == Method::PUT {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body).unwrap();
        return (StatusCode::OK, Vec::new());
    }
    match std::fs::read(path) {
        Ok(object) => (StatusCode::OK, object),
        Err(_) => (StatusCode::NOT_FOUND, b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
    }
}
