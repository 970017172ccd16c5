//! Both versions on recorded trees: plain directories with the files the kernel would show.

use super::*;

const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 23 0:27 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory,release_agent=/x
32 23 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
33 23 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
34 23 0:27 / /mnt/again rw,relatime - cgroup cgroup rw,memory
";

#[test]
fn mounts_are_found_once() {
    let found = Cgroups::parse(HYBRID);
    assert_eq!(found.v1.len(), 3);
    assert!(found.v1[0].has("cpuacct"));
    assert_eq!(found.v1[2].controllers, ["name=systemd"]);
    assert_eq!(found.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    assert!(!found.unified());
    assert_eq!(found.visible("/a").len(), 2);
}

fn v2_tree() -> (tempfile::TempDir, Cgroups) {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("cgroup.controllers"), "cpuset cpu io memory pids hugetlb\n").unwrap();
    let cgroups = Cgroups { v1: Vec::new(), v2: Some(tree.path().to_path_buf()) };
    (tree, cgroups)
}

fn limits() -> Resources {
    Resources {
        cpu_shares: Some(1024),
        cpu_quota_us: Some(20_000),
        cpu_period_us: Some(100_000),
        memory_limit_bytes: Some(64 << 20),
        pids_limit: Some(100),
    }
}

#[test]
fn v2_limits_and_delegation() {
    let (tree, cgroups) = v2_tree();
    cgroups.create("/gantry/burstable/podx", &limits()).unwrap();
    let read = |path: &str| fs::read_to_string(tree.path().join(path)).unwrap();
    assert_eq!(read("cgroup.subtree_control"), "+cpuset +cpu +io +memory +pids");
    assert_eq!(read("gantry/burstable/podx/cpu.weight"), "39");
    assert_eq!(read("gantry/burstable/podx/cpu.max"), "20000 100000");
    assert_eq!(read("gantry/burstable/podx/memory.max"), "67108864");
    assert_eq!(read("gantry/burstable/podx/pids.max"), "100");
}

#[test]
fn v2_usage_and_oom() {
    let (tree, cgroups) = v2_tree();
    let directory = tree.path().join("p");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("memory.current"), "1000\n").unwrap();
    fs::write(directory.join("memory.stat"), "anon 5\ninactive_file 400\n").unwrap();
    fs::write(directory.join("cpu.stat"), "usage_usec 7\nuser_usec 3\n").unwrap();
    fs::write(directory.join("pids.current"), "2\n").unwrap();
    fs::write(directory.join("memory.events"), "low 0\noom 3\noom_kill 1\noom_group_kill 0\n").unwrap();
    let expected =
        CgroupUsage { cpu_ns: 7000, memory_working_set_bytes: 600, memory_usage_bytes: 1000, pids: 2 };
    assert_eq!(cgroups.usage("/p").unwrap(), expected);
    assert_eq!(cgroups.oom_kills("/p"), 1);
    assert!(cgroups.usage("/absent").is_err());
}

#[test]
fn v1_limits() {
    let files: Vec<(&str, String)> = v1_settings(&limits()).into_iter().map(|s| (s.file, s.value)).collect();
    let expect = [
        ("cpu.shares", "1024"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "20000"),
        ("memory.limit_in_bytes", "67108864"),
        ("pids.max", "100"),
    ];
    assert_eq!(files, expect.map(|(file, value)| (file, value.to_owned())));
}

#[test]
fn weights() {
    for (shares, weight) in [(0, 1), (2, 1), (102, 4), (1024, 39), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(weight_of_shares(shares), weight, "{shares}");
    }
}

#[test]
fn removal_refuses_the_root_and_accepts_absence() {
    let (tree, cgroups) = v2_tree();
    assert!(cgroups.remove("/").is_err());
    cgroups.remove("/absent").unwrap();
    fs::create_dir_all(tree.path().join("p/c/d")).unwrap();
    cgroups.remove("/p").unwrap();
    assert!(!tree.path().join("p").exists());
}
