//! Account and region that an engine watches: set at the start, and the account as soon as an ARN shows it.

use crate::engine::Engine;
use crate::model::{Place, Queue};

impl Engine {
    /// Sets the target. `apart` means its state file is beside another target's, so that its alerts need separate
    /// ids.
    #[must_use]
    pub fn of_target(mut self, place: Place, apart: bool) -> Self {
        self.active_alerts.set_id_target(apart.then(|| place.target.clone()));
        self.service.place = place;
        self
    }

    /// Takes the account from the ARNs of queues.
    pub(super) fn find_account(&mut self, queues: &[Queue]) {
        let place = &mut self.service.place;
        if !place.target.is_empty() && place.account.is_none() {
            place.account = queues.iter().find_map(|queue| Place::account_of(&queue.arn)).map(Into::into);
        }
    }
}
