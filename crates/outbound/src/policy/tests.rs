use super::*;

fn policy(allow: &str) -> Policy {
    let parts = allow.split(',').map(str::trim).filter(|part| !part.is_empty());
    Policy { allow: parts.map(|part| part.parse().expect(part)).collect(), ..Policy::default() }
}

/// `host` at `port`; `host` is an address, or `name=address`.
fn ask(host: &str, port: u16, allow: &str) -> Result<Side, Refusal> {
    let (host, address) = host.split_once('=').unwrap_or((host, host));
    let target = Target { host, port, address: address.parse().expect(address), is_own: false };
    allowed(&target, &policy(allow))
}

#[test]
fn without_a_setting_nothing_but_public_addresses_is_reached() {
    for host in
        ["1.1.1.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1", "a.example=8.8.8.8"]
    {
        assert_eq!(ask(host, 443, ""), Ok(Side::Public), "{host}");
    }
    for host in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "fd00::1",
        "169.254.1.1",
        "fe80::1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "168.63.129.16",
        "198.18.0.1",
        "192.0.2.1",
        "2001:db8::1",
        "240.0.0.1",
        "2001::1",
        "name.example=127.0.0.1",
        "localhost=127.0.0.1",
        "metadata.google.internal=169.254.169.254",
    ] {
        let refusal = ask(host, 443, "").expect_err(host);
        assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{host}: {refusal}");
        assert!(refusal.to_string().contains("setting outbound-allow"), "{refusal}");
    }
}

#[test]
fn what_is_nobody_in_particular_is_never_reached() {
    for host in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "name.example=0.0.0.0"] {
        let all = "loopback, private, 0.0.0.0/0, ::/0, 0.0.0.0, 255.255.255.255, name.example";
        assert!(matches!(ask(host, 443, all), Err(Refusal::Never { .. })), "{host}");
    }
}

#[test]
fn ports_of_the_server_itself_are_shut_whatever_is_allowed() {
    for allow in ["loopback", "private", "127.0.0.1", "10.0.0.1:8080", "x.lan", "0.0.0.0/0"] {
        let policy = Policy { shut: vec![8080], ..policy(allow) };
        for (host, address, is_own) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("::1", "::1", true),
            ("x.lan", "127.0.0.2", false),
            ("x.lan", "10.0.0.1", true),
        ] {
            let target = |port| Target { host, port, address: address.parse().expect("an address"), is_own };
            assert!(matches!(allowed(&target(8080), &policy), Err(Refusal::Never { .. })), "{host} with {allow}");
        }
    }
    let policy = Policy { shut: vec![8080], ..policy("loopback") };
    let target =
        |port| Target { host: "127.0.0.1", port, address: "127.0.0.1".parse().expect("an address"), is_own: true };
    assert_eq!(allowed(&target(8081), &policy), Ok(Side::Private));
}

#[test]
fn a_setting_allows_what_it_says_and_no_more() {
    for (host, port, allow, reached) in [
        ("127.0.0.1", 6379, "loopback", true),
        ("::1", 6379, "loopback", true),
        ("10.0.0.1", 443, "loopback", false),
        ("10.0.0.1", 443, "private", true),
        ("100.64.0.1", 443, "private", true),
        ("fd00::1", 443, "private", true),
        ("127.0.0.1", 443, "private", false),
        ("169.254.1.1", 443, "loopback,private", false),
        ("10.200.0.1", 443, "10.0.0.0/8", true),
        ("11.0.0.1", 443, "10.0.0.0/8", true), // public anyway
        ("192.168.0.1", 443, "10.0.0.0/8", false),
        ("::ffff:10.0.0.1", 443, "10.0.0.0/8", true),
        ("fd12::1", 443, "fd00::/8", true),
        ("127.0.0.1", 5001, "127.0.0.1:5001", true),
        ("127.0.0.1", 6379, "127.0.0.1:5001", false),
        ("127.0.0.2", 5001, "127.0.0.1:5001", false),
        ("::1", 5001, "[::1]:5001", true),
        ("::1", 5002, "[::1]:5001", false),
        ("::1", 5002, "::1", true),
        ("localhost=127.0.0.1", 5001, "localhost:5001", true),
        ("localhost=127.0.0.1", 6379, "localhost:5001", false),
        ("127.0.0.1", 5001, "localhost:5001", false),
        ("registry.lan=10.1.1.1", 443, "Registry.LAN", true),
        ("registry.lan=127.0.0.1", 443, "registry.lan", true),
        ("evil.registry.lan=10.1.1.1", 443, "registry.lan", false),
        ("registry.lan.evil=10.1.1.1", 443, "registry.lan", false),
        ("other.lan=10.1.1.1", 443, "registry.lan", false),
        // A name does not open more than private networks.
        ("registry.lan=169.254.169.254", 80, "registry.lan", false),
        ("registry.lan=169.254.1.1", 80, "registry.lan", false),
        ("registry.lan=198.18.0.1", 443, "registry.lan", false),
        ("198.18.0.1", 443, "198.18.0.0/15", true),
        ("169.254.1.1", 443, "169.254.0.0/16", true),
        // Credentials of clouds: only by themselves.
        ("169.254.169.254", 80, "loopback,private,169.254.0.0/16,0.0.0.0/0", false),
        ("::ffff:169.254.169.254", 80, "169.254.0.0/16,::/0", false),
        ("fd00:ec2::254", 80, "private,fd00::/8", false),
        ("100.100.100.200", 80, "private,100.64.0.0/10", false),
        ("168.63.129.16", 80, "168.63.129.0/24", false),
        ("168.63.129.16", 80, "168.63.129.16", true),
        ("metadata.lan=168.63.129.16", 80, "168.63.129.16:80", true),
    ] {
        assert_eq!(ask(host, port, allow).is_ok(), reached, "{host} port {port} with {allow}");
    }
}

#[test]
fn a_public_address_of_this_machine_is_this_machine() {
    let target = Target { host: "8.8.8.8", port: 9200, address: "8.8.8.8".parse().expect("an address"), is_own: true };
    let refusal = allowed(&target, &policy("private")).expect_err("its own");
    assert!(refusal.to_string().contains("an address of the server itself"), "{refusal}");
    assert_eq!(allowed(&target, &policy("loopback")), Ok(Side::Private));
    assert_eq!(allowed(&target, &policy("8.8.8.8:9200")), Ok(Side::Private));
}

#[test]
fn what_cannot_be_allowed_is_named_with_its_rule() {
    for (text, word) in [
        ("", "neither"),
        ("10.0.0.1/8", "first address"),
        ("10.0.0.0/33", "prefix length"),
        ("fd00::/129", "prefix length"),
        ("lan/8", "begin with an address"),
        ("registry.lan:0", "port"),
        ("registry.lan:70000", "port"),
        ("registry.lan:", "port"),
        ("https://registry.lan", "begin with an address"),
        ("*.lan", "neither"),
        ("a b", "neither"),
        ("127.1", "neither"),
        ("2130706433", "neither"),
        ("[registry.lan]", "neither"),
        ("[::1", "neither"),
    ] {
        let error = text.parse::<Allow>().expect_err(text).to_string();
        assert!(error.contains(word) && error.contains(text), "{error}");
    }
}

#[test]
fn a_refusal_says_what_would_allow_it_and_not_where_a_name_leads() {
    for (host, port, example) in [
        ("127.0.0.1", 6379, "'127.0.0.1:6379'"),
        ("::1", 6379, "'[::1]:6379'"),
        ("db.lan=10.9.8.7", 443, "'db.lan:443'"),
        ("198.18.0.1", 443, "'198.18.0.1'"),
        ("db.lan=198.18.0.1", 443, "'its address'"),
    ] {
        let refusal = ask(host, port, "").expect_err(host).to_string();
        assert!(refusal.contains(example), "{refusal}");
        assert!(!refusal.contains("10.9.8.7") && (host == "198.18.0.1" || !refusal.contains("198.18")), "{refusal}");
    }
}

fn peer(url: &str, side: Side) -> Peer {
    Peer { origin: origin(url), side }
}

fn origin(url: &str) -> Origin {
    Origin::of(&reqwest::Url::parse(url).expect(url)).expect(url)
}

#[test]
fn nobody_on_the_internet_sends_us_into_our_own_networks_or_out_of_tls() {
    let policy = policy("loopback,private");
    let public = peer("https://registry.example", Side::Public);
    let split = peer("https://split.example", Side::Both);
    let inside = peer("https://registry.lan", Side::Private);
    let in_the_clear = peer("http://localhost:5001", Side::Private);
    let try_it = |from: Option<&Peer>, url: &str, addresses: &[&str]| {
        let found: Vec<_> = addresses.iter().map(|text| (text.parse().expect(text), false)).collect();
        decide(&origin(url), &found, from, &policy).map_err(|refusal| refusal.to_string())
    };
    for (from, url, addresses, expected) in [
        (None, "https://registry.lan", &["10.0.0.1"][..], Ok(Side::Private)),
        (None, "https://registry.lan", &["10.0.0.1", "8.8.8.8"], Ok(Side::Both)),
        (None, "https://registry.lan", &["8.8.8.8", "169.254.169.254"], Err("clouds keep credentials")),
        (None, "http://registry.lan", &["10.0.0.1"], Ok(Side::Private)),
        (None, "http://registry.lan", &["10.0.0.1", "8.8.8.8"], Err("not reached by https")),
        (None, "http://registry.example", &["8.8.8.8"], Err("not reached by https")),
        (Some(&public), "https://cdn.example", &["8.8.8.8"], Ok(Side::Public)),
        (Some(&public), "http://cdn.example", &["8.8.8.8"], Err("not reached by https")),
        (Some(&public), "https://registry.lan", &["10.0.0.1"], Err("nobody on the internet")),
        (Some(&public), "https://registry.lan", &["8.8.8.8", "10.0.0.1"], Err("nobody on the internet")),
        (Some(&public), "https://x.example", &["127.0.0.1"], Err("nobody on the internet")),
        (Some(&split), "https://registry.lan", &["10.0.0.1"], Err("nobody on the internet")),
        (Some(&inside), "https://minio.lan", &["10.0.0.2"], Ok(Side::Private)),
        (Some(&inside), "https://s3.example", &["8.8.8.8"], Ok(Side::Public)),
        (Some(&inside), "http://minio.lan", &["10.0.0.2"], Err("not reached by https")),
        (Some(&in_the_clear), "http://localhost:9000", &["127.0.0.1"], Ok(Side::Private)),
        (Some(&in_the_clear), "http://s3.example", &["8.8.8.8"], Err("not reached by https")),
    ] {
        match (try_it(from, url, addresses), expected) {
            (Ok(side), Ok(wanted)) => assert_eq!(side, wanted, "{url} {addresses:?}"),
            (Err(said), Err(word)) => assert!(said.contains(word), "{said}"),
            (found, _) => panic!("{url} {addresses:?}: {found:?}"),
        }
    }
}
