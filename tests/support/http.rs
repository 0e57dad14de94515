//! HTTP requests to servers on this machine.

use std::sync::LazyLock;

use reqwest::{Client, IntoUrl, Response};

/// One client for all tests: creating one reads the CA certificates of this machine, which nothing here needs and
/// which takes longer than most requests. It pools no connections, since they would end with the runtime of the test
/// that opened them.
static CLIENT: LazyLock<Client> =
    LazyLock::new(|| Client::builder().no_proxy().tls_certs_only([]).pool_max_idle_per_host(0).build().unwrap());

/// The client, for requests other than GET.
pub fn client() -> &'static Client {
    &CLIENT
}

/// Gets a URL.
pub async fn get(url: impl IntoUrl) -> reqwest::Result<Response> {
    CLIENT.get(url).send().await
}
