//! What the service costs in a month, by destination: quantities times one table of prices. Pure.
//!
//! Quantities come from the configuration and from a frame: one that a service recorded, one that was just looked at, or one that is made
//! up from assumptions where nothing is known. How much of a frame goes where is for `publish` to say, which cuts the requests.

mod assumed_series;
mod bill;
mod prices;
mod usage;

pub use assumed_series::{Assumed, assumed_frame};
pub use bill::{Bill, Destination, Line, bill};
pub use prices::{Item, Price, PriceTable};
pub use usage::{ClassicUse, OtlpUse, SECONDS_A_MONTH, Usage, hosts_in_use};
