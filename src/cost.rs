//! Projected monthly cost of the service by destination: quantities times one price table. Pure.
//!
//! Quantities come from the configuration and from a frame: a recorded one, a current one, or an assumed one if
//! nothing is known. `publish`, which builds the requests, determines which part of a frame goes to which sink.

mod assumed_frame;
mod bill;
mod prices;
mod usage;

pub use assumed_frame::{Assumed, assumed_frame};
pub use bill::{Bill, Destination, Line, bill};
pub use prices::{Item, Price, PriceTable};
pub use usage::{ClassicUse, OtlpUse, SECONDS_A_MONTH, Usage, hosts_in_use};
