//! An address that is taken, although nobody listens there: one that was freed may go to the next listener that asks for any.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// An address without a listener: connections are refused, and nobody else can listen there.
pub struct ReservedAddress {
    socket: TcpSocket,
    pub address: SocketAddr,
}

impl ReservedAddress {
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    /// Listens from now on.
    pub fn listen(self) -> TcpListener {
        self.socket.listen(1_024).unwrap()
    }
}
