//! Flags of `services update-traffic`.

use clap::{ArgGroup, Args};

use crate::values::{List, Pairs, Shares};

/// Flags of `services update-traffic`. Changes of tags come first, then those of shares.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(
    ["to_latest", "to_revisions", "to_tags", "set_tags", "update_tags", "remove_tags", "clear_tags"]))]
pub struct TrafficArgs {
    /// The service.
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// All traffic to the latest revision, now and after later deploys.
    #[arg(long, conflicts_with_all = ["to_revisions", "to_tags"])]
    pub to_latest: bool,
    /// Shares of revisions in percent; LATEST means the latest, whichever that is. When they make
    /// less than 100, the other revisions with traffic share the rest as they did before.
    #[arg(long, value_name = "REVISION=PERCENT,…", conflicts_with = "to_tags")]
    pub to_revisions: Vec<Shares>,
    /// Shares of the revisions that have these tags.
    #[arg(long, value_name = "TAG=PERCENT,…")]
    pub to_tags: Vec<Shares>,
    /// These tags, and no others. LATEST means the latest revision.
    #[arg(long, value_name = "TAG=REVISION,…", conflicts_with_all = ["update_tags", "remove_tags", "clear_tags"])]
    pub set_tags: Vec<Pairs>,
    /// These tags as well.
    #[arg(long, value_name = "TAG=REVISION,…", conflicts_with = "clear_tags")]
    pub update_tags: Vec<Pairs>,
    /// Without these tags; before others are added.
    #[arg(long, value_name = "TAG,…", conflicts_with = "clear_tags")]
    pub remove_tags: Vec<List>,
    /// Without any tag.
    #[arg(long)]
    pub clear_tags: bool,
    /// Return without waiting for the end.
    #[arg(long = "async")]
    pub asynchronous: bool,
}
