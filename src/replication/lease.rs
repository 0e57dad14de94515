//! The lease: which replica leads, as a function of what it learns from the log. Events in, the next step out.
//! PURE: times are spans of this machine's monotonic clock, and clocks of different machines are never compared.
//!
//! - The writer of the last record leads, for one lease from the moment it began to write it.
//! - A follower takes over after a whole lease without a new record and without a gap in which it could not look;
//!   at once after a hand-over. A follower that is not assigned the target (see [`super::target_assignment`]) leaves it to
//!   others for another lease. The log decides conflicts, since it accepts each number once.
//! - A leader writes at least every quarter of a lease. Notifications may be sent until two thirds of a lease after
//!   a confirmed record was begun: the longest attempt has ended before another replica can lead.
//! - A bucket that returns errors stops nobody: meanwhile no other replica can take over either. This holds as long
//!   as it has returned errors continuously since before others could have taken over. A bucket that does not
//!   respond at all may respond to others.

use std::time::Duration;

use crate::objects::Trouble;

/// A time on this machine's monotonic clock.
pub type Mono = Duration;

/// Wall times derived from the length of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a leader leads, from the beginning of a confirmed record.
    pub lease: Duration,
    /// Interval at which a follower looks for a new record.
    pub poll: Duration,
}

/// Maximum interval of a follower: a stop is noticed within a second.
const POLL: Duration = Duration::from_millis(700);

/// Interval of retries to a failing bucket.
const RETRY: Duration = Duration::from_secs(1);

impl Terms {
    /// The terms of a lease of this length.
    pub fn of(lease: Duration) -> Self {
        Self { lease, poll: POLL.min(lease / 10) }
    }

    /// Time after the last record at which an empty record is written.
    pub fn heartbeat(&self) -> Duration {
        self.lease / 4
    }

    /// Maximum time of a notification attempt.
    pub fn attempt(&self) -> Duration {
        self.lease / 3
    }

    /// Maximum time of a request to the bucket.
    pub fn request(&self) -> Duration {
        self.lease / 6
    }

    /// How long after the last confirmation senders may begin an attempt.
    pub fn sending(&self) -> Duration {
        self.lease - self.attempt()
    }

    fn retry(&self) -> Duration {
        RETRY.min(self.lease / 20)
    }
}

/// Role of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows the log, ready to lead.
    Following,
    /// Leads.
    Leading,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look for the next record.
    Look,
    /// Write pending changes, or an empty record.
    Write,
    /// Wait until a time.
    Wait(Mono),
}

/// A replica's knowledge of the leadership.
#[derive(Clone, Debug)]
pub struct Lease {
    terms: Terms,
    role: Role,
    /// Following: since when no new record was found; `None` before the first look.
    quiet_since: Option<Mono>,
    /// Following: whether the log has no leader.
    vacant: bool,
    /// Following: whether it must not lead, because it does not understand the log.
    barred: bool,
    /// Following: whether others should lead, if one of them can.
    left_to_others: bool,
    look_at: Mono,
    /// Leading: when the last confirmed record was begun.
    confirmed: Mono,
    /// Leading: when the bucket last returned an error, since the last confirmed record.
    refused: Option<Mono>,
    write_at: Mono,
    /// Leading: since when writes have failed.
    failing_since: Option<Mono>,
}

impl Lease {
    /// A replica that has read the log to its end. `vacant` means there is no leader: the log is empty, was handed
    /// over, or its leader is known to be gone.
    pub fn new(terms: Terms, vacant: bool, now: Mono) -> Self {
        Self {
            terms,
            role: Role::Following,
            quiet_since: Some(now),
            vacant,
            barred: false,
            left_to_others: false,
            look_at: now,
            confirmed: now,
            refused: None,
            write_at: now,
            failing_since: None,
        }
    }

    /// The terms.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Role of this replica.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The next step.
    pub fn step(&self, now: Mono) -> Step {
        match self.role {
            Role::Following if now < self.look_at => Step::Wait(self.look_at),
            Role::Following => Step::Look,
            Role::Leading if now < self.write_at => Step::Wait(self.write_at),
            Role::Leading => Step::Write,
        }
    }

    /// Following: a record of another replica was found. `is_last` means that its writer has handed over.
    pub fn found(&mut self, is_last: bool, now: Mono) {
        self.quiet_since = Some(now);
        self.vacant = is_last;
        self.barred = false;
        self.look_at = now;
    }

    /// Following: a look that began at `asked` found no further record. Returns whether to take over.
    pub fn found_nothing(&mut self, asked: Mono, now: Mono) -> bool {
        self.look_at = now + self.terms.poll;
        // A leader may have received errors until this response, and continues for a while after that.
        let quiet_since = *self.quiet_since.get_or_insert(now);
        let held = if self.vacant { Duration::ZERO } else { self.terms.lease };
        let left = if self.left_to_others { self.terms.lease } else { Duration::ZERO };
        !self.barred && asked.saturating_sub(quiet_since) >= held + left
    }

    /// Following: the look failed, or a record was not understood. What the leader does meanwhile is unknown.
    pub fn could_not_look(&mut self, now: Mono) {
        self.quiet_since = None;
        self.look_at = now + self.terms.poll;
    }

    /// Following: there is a record of a newer version: another replica continues, and this one must not lead.
    pub fn bar(&mut self, now: Mono) {
        self.barred = true;
        self.could_not_look(now);
    }

    /// Sets whether others should lead, if one of them can.
    pub fn leave_to_others(&mut self, is_left: bool) {
        self.left_to_others = is_left;
    }

    /// Following: whether it may lead.
    pub fn is_unbarred(&self) -> bool {
        !self.barred
    }

    /// Its own record, begun at `began`, is in the log: it leads.
    pub fn wrote(&mut self, began: Mono) {
        self.role = Role::Leading;
        self.confirmed = self.confirmed.max(began);
        self.refused = None;
        self.failing_since = None;
        self.write_at = began + self.terms.heartbeat();
    }

    /// Leading: there is something to write now.
    pub fn write_soon(&mut self, now: Mono) {
        self.write_at = self.write_at.min(now);
    }

    /// A write begun at `began` failed, and no other replica is known to have written. Returns whether the leader
    /// continues without the log: no other replica can lead.
    pub fn could_not_write(&mut self, trouble: Trouble, began: Mono, now: Mono) -> bool {
        self.failing_since.get_or_insert(now);
        self.write_at = now + self.terms.retry();
        let goes_on = trouble == Trouble::Answered && self.may_send_until().is_some_and(|until| began <= until);
        if goes_on {
            self.refused = Some(began);
        }
        goes_on
    }

    /// Another replica wrote the next record.
    pub fn lost(&mut self, now: Mono) {
        *self = Self { left_to_others: self.left_to_others, ..Self::new(self.terms, false, now) };
    }

    /// It has given up the leadership. `is_said` means that this is in the log.
    pub fn handed_over(&mut self, is_said: bool, now: Mono) {
        self.lost(now);
        self.vacant = is_said;
    }

    /// Leading: since when writes have failed; `None` if they succeed.
    pub fn failing_since(&self) -> Option<Mono> {
        self.failing_since
    }

    /// Until when notification attempts may begin; `None` if they may not.
    pub fn may_send_until(&self) -> Option<Mono> {
        match self.role {
            Role::Following => None,
            Role::Leading => {
                let confirmed = self.confirmed + self.terms.sending();
                Some(self.refused.map_or(confirmed, |refused| confirmed.max(refused + self.terms.request())))
            }
        }
    }

    /// Leading: whether the last confirmation is so old that another replica may have written, and many records may
    /// have been removed.
    pub fn is_long_ago(&self, now: Mono) -> bool {
        now.saturating_sub(self.confirmed) > self.terms.lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Mono {
        Duration::from_secs(seconds)
    }

    fn following() -> Lease {
        Lease::new(Terms::of(s(45)), false, s(100))
    }

    #[test]
    fn a_follower_takes_over_after_a_lease_without_news_and_not_before() {
        let mut lease = following();
        assert!(!lease.found_nothing(s(144), s(144)));
        assert!(lease.found_nothing(s(145), s(146)));
        lease.found(false, s(150));
        // A look that began before the record came proves nothing.
        assert!(!lease.found_nothing(s(149), s(196)));
        assert!(!lease.found_nothing(s(194), s(196)));
        assert!(lease.found_nothing(s(195), s(196)));
    }

    #[test]
    fn a_time_in_which_it_could_not_look_does_not_count() {
        let mut lease = following();
        lease.could_not_look(s(140));
        assert!(!lease.found_nothing(s(141), s(142)));
        assert!(!lease.found_nothing(s(186), s(187)));
        assert!(lease.found_nothing(s(187), s(187)));
    }

    #[test]
    fn after_a_hand_over_it_takes_over_at_once() {
        let mut lease = following();
        lease.found(true, s(101));
        assert_eq!(lease.step(s(101)), Step::Look);
        assert!(lease.found_nothing(s(101), s(101)));
    }

    #[test]
    fn who_is_not_to_lead_leaves_it_to_others_for_a_lease() {
        let mut lease = following();
        lease.leave_to_others(true);
        assert!(!lease.found_nothing(s(189), s(189)));
        assert!(lease.found_nothing(s(190), s(190)));
        lease.found(true, s(200));
        assert!(!lease.found_nothing(s(244), s(244)));
        assert!(lease.found_nothing(s(245), s(245)));
        lease.wrote(s(250));
        lease.handed_over(true, s(300));
        assert!(!lease.found_nothing(s(301), s(301)), "what it gave up is not for itself");
        lease.leave_to_others(false);
        assert!(lease.found_nothing(s(302), s(302)));
    }

    #[test]
    fn who_does_not_understand_the_log_never_leads() {
        let mut lease = following();
        lease.bar(s(101));
        assert!(!lease.found_nothing(s(500), s(500)));
        lease.found(true, s(501));
        assert!(lease.found_nothing(s(501), s(501)));
    }

    #[test]
    fn senders_stop_before_another_one_can_lead() {
        let mut lease = following();
        assert_eq!(lease.may_send_until(), None);
        lease.wrote(s(200));
        let until = lease.may_send_until().unwrap();
        assert!(until + lease.terms().attempt() <= s(200) + lease.terms().lease);
        assert!(!lease.could_not_write(Trouble::Silent, s(221), s(229)));
        assert_eq!(lease.may_send_until(), Some(until));
        // A bucket that returns errors returns them to everybody, as long as it continues to do so.
        let mut refused = s(228);
        while refused < s(300) {
            assert!(lease.could_not_write(Trouble::Answered, refused, refused + s(1)));
            refused += s(5);
        }
        assert_eq!(lease.may_send_until(), Some(s(298) + lease.terms().request()));
        // After a pause others may have taken over before the next error.
        assert!(!lease.could_not_write(Trouble::Answered, s(320), s(321)));
        assert!(lease.may_send_until() < Some(s(320)));
        lease.lost(s(321));
        assert_eq!((lease.may_send_until(), lease.role()), (None, Role::Following));
    }

    #[test]
    fn a_bucket_that_refuses_every_attempt_does_not_stop_a_leader_with_a_short_lease() {
        for lease in [3, 4, 10, 45, 600] {
            let mut lease = Lease::new(Terms::of(s(lease)), false, s(100));
            lease.wrote(s(100));
            // All attempts and their pauses take half of the time that one request may.
            let (request, mut now) = (lease.terms().request(), s(100));
            while now < s(3_000) {
                let Step::Wait(next) = lease.step(now) else { panic!("it writes at {now:?}") };
                now = next + request / 2;
                assert!(lease.could_not_write(Trouble::Answered, next, now), "{lease:?} at {now:?}");
            }
        }
    }

    #[test]
    fn a_leader_writes_well_within_its_lease() {
        let mut lease = following();
        lease.wrote(s(200));
        assert_eq!(lease.step(s(201)), Step::Wait(s(200) + s(45) / 4));
        lease.write_soon(s(202));
        assert_eq!(lease.step(s(202)), Step::Write);
        let terms = lease.terms();
        // A request of maximum duration leaves time for another one.
        assert!(terms.heartbeat() + terms.request() * 2 < terms.sending());
    }
}
