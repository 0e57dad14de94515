//! Which target an engine watches, and where that is.

use crate::engine::Engine;
use crate::model::{Place, Queue};

impl Engine {
    /// The same engine, which watches this target. Alerts of targets that have a state file of their own beside that of another have ids
    /// of their own, too: they are `apart`.
    #[must_use]
    pub fn of_target(mut self, place: Place, apart: bool) -> Self {
        self.active_alerts.set_apart(apart.then(|| place.target.clone()));
        self.service.place = place;
        self
    }

    /// ARNs of queues name the account, too.
    pub(super) fn find_account(&mut self, queues: &[Queue]) {
        let place = &mut self.service.place;
        if !place.target.is_empty() && place.account.is_none() {
            place.account = queues.iter().find_map(|queue| Place::account_of(&queue.arn)).map(Into::into);
        }
    }
}
