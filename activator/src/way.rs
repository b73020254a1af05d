//! How requests get to pods: as they are, or in TLS with queues that show whose they are.

use std::{net::SocketAddr, sync::Arc};

use api::queue::TLS_PORT;
use http::{Request, Response};
use proxy::{
    body::Body,
    hop::{Boxed, SendError, Upstream},
    tls::client::Identity,
    upstream::Secured,
};
use runtime::trust::Trust;

use crate::revision::Address;

/// The way to pods. Whether it is in TLS is the configuration's present word.
pub struct Way {
    plain: Arc<dyn Upstream>,
    /// None where nothing of it can be on a wire.
    secured: Option<(Trust, Secured)>,
}

impl Way {
    /// Sends by `plain`, and over connections that it dials where `trust` says that there is TLS.
    pub fn new(plain: Arc<dyn Upstream>, trust: Option<Trust>) -> Way {
        let secured = trust.map(|trust| {
            let secured = Secured::new(trust.client.clone(), plain.clone());
            (trust, secured)
        });
        Way { plain, secured }
    }

    /// Sends a request to the queue at `to`, which `who` gives the identity of.
    pub fn send<'w>(
        &self,
        to: Address,
        who: impl FnOnce() -> &'w Identity,
        request: Request<Body>,
    ) -> Boxed<Result<Response<Body>, SendError>> {
        match self.secured() {
            None => self.plain.send(to.at, to.protocol, request),
            Some(secured) => secured.send(in_tls(to.at), who(), to.protocol, request),
        }
    }

    /// Asks the queue at `to` whether its pod is ready. In TLS one is not that has no certificate yet.
    pub fn probe<'w>(&self, to: Address, who: impl FnOnce() -> &'w Identity) -> Boxed<bool> {
        match self.secured() {
            None => self.plain.probe(to.at),
            Some(secured) => secured.probe(in_tls(to.at), who()),
        }
    }

    fn secured(&self) -> Option<&Secured> {
        let (trust, secured) = self.secured.as_ref()?;
        trust.is_enabled().then_some(secured)
    }
}

fn in_tls(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip(), TLS_PORT)
}
