//! The names a certificate of ours is for.

use std::net::IpAddr;

use updraft_model::name::INTERNAL_HOST;

/// The names of a server: its services' hosts, this machine, the address it listens on, what containers call it, and
/// what else it is called.
/// For every name of the API also the one that `gcloud` makes of it, with the region in front.
pub fn names(domain: &str, regions: &[String], address: IpAddr, others: &[String]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), INTERNAL_HOST.to_owned()];
    if !address.is_unspecified() {
        names.push(address.to_canonical().to_string());
    }
    names.push(domain.to_owned());
    // A star stands for one label: the hash form of a URL needs the first, the form with the region the others.
    names.push(format!("*.{domain}"));
    names.extend(regions.iter().map(|region| format!("*.{region}.{domain}")));
    names.extend(regions.iter().map(|region| format!("{region}-run.localhost")));
    for other in others {
        let is_host = other.parse::<IpAddr>().is_err() && !other.starts_with('*');
        names.push(other.clone());
        names.extend(regions.iter().filter(|_| is_host).map(|region| format!("{region}-{other}")));
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn services_machine_address_and_other_names_are_covered_each_once() {
        let others = ["api.example.com", "*.cloud.test", "192.0.2.7", "localhost"].map(str::to_owned);
        let found = names("run.localhost", &["us-central1".to_owned()], Ipv4Addr::new(192, 0, 2, 1).into(), &others);
        assert_eq!(
            found,
            [
                "localhost",
                "127.0.0.1",
                "::1",
                "updraft.internal",
                "192.0.2.1",
                "run.localhost",
                "*.run.localhost",
                "*.us-central1.run.localhost",
                "us-central1-run.localhost",
                "api.example.com",
                "us-central1-api.example.com",
                "*.cloud.test",
                "192.0.2.7",
                "us-central1-localhost",
            ]
        );
        let everywhere = names("run.localhost", &[], Ipv4Addr::UNSPECIFIED.into(), &[]);
        assert!(!everywhere.contains(&"0.0.0.0".to_owned()));
    }
}
