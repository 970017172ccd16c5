//! The default system call filter (`RuntimeDefault`): an allow list, in the two forms needed.
//!
//! [`oci`] is what libcontainer loads when it creates a container, [`program`] what our own exec loads. Both are
//! made from the same tables. What is dangerous answers `EPERM`; what is not in the tables at all (newer system
//! calls) answers `ENOSYS`, so that C libraries fall back. Only the native architecture may be used.
//!
//! Some calls are allowed only along with a capability, because the capability is pointless without them; this
//! follows the division of Docker's profile.

use serde_json::{Value, json};

type Call = (&'static str, i64);

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

/// Allowed to everybody.
const ALLOWED: &[Call] = calls![
    SYS_read SYS_write SYS_close SYS_fstat SYS_lseek SYS_mmap SYS_mprotect SYS_munmap SYS_brk SYS_rt_sigaction
    SYS_rt_sigprocmask SYS_rt_sigreturn SYS_ioctl SYS_pread64 SYS_pwrite64 SYS_readv SYS_writev SYS_sched_yield
    SYS_mremap SYS_msync SYS_mincore SYS_madvise SYS_shmget SYS_shmat SYS_shmctl SYS_dup SYS_nanosleep
    SYS_getitimer SYS_setitimer SYS_getpid SYS_sendfile SYS_socket SYS_connect SYS_accept SYS_sendto SYS_recvfrom
    SYS_sendmsg SYS_recvmsg SYS_shutdown SYS_bind SYS_listen SYS_getsockname SYS_getpeername SYS_socketpair
    SYS_setsockopt SYS_getsockopt SYS_execve SYS_exit SYS_wait4 SYS_kill SYS_uname SYS_semget SYS_semop SYS_semctl
    SYS_shmdt SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync SYS_truncate
    SYS_ftruncate SYS_getcwd SYS_chdir SYS_fchdir SYS_fchmod SYS_fchown SYS_umask SYS_gettimeofday SYS_getrlimit
    SYS_getrusage SYS_sysinfo SYS_times SYS_ptrace SYS_getuid SYS_getgid SYS_setuid SYS_setgid SYS_geteuid
    SYS_getegid SYS_setpgid SYS_getppid SYS_setsid SYS_setreuid SYS_setregid SYS_getgroups SYS_setgroups
    SYS_setresuid SYS_getresuid SYS_setresgid SYS_getresgid SYS_getpgid SYS_setfsuid SYS_setfsgid SYS_getsid
    SYS_capget SYS_capset SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_sigsuspend
    SYS_sigaltstack SYS_personality SYS_statfs SYS_fstatfs SYS_getpriority SYS_setpriority SYS_sched_setparam
    SYS_sched_getparam SYS_sched_setscheduler SYS_sched_getscheduler SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_mlock SYS_munlock SYS_mlockall SYS_munlockall
    SYS_prctl SYS_setrlimit SYS_sync SYS_gettid SYS_readahead SYS_setxattr SYS_lsetxattr SYS_fsetxattr
    SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_removexattr
    SYS_lremovexattr SYS_fremovexattr SYS_tkill SYS_futex SYS_sched_setaffinity SYS_sched_getaffinity SYS_io_setup
    SYS_io_destroy SYS_io_getevents SYS_io_submit SYS_io_cancel SYS_remap_file_pages SYS_getdents64
    SYS_set_tid_address SYS_restart_syscall SYS_semtimedop SYS_fadvise64 SYS_timer_create SYS_timer_settime
    SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep
    SYS_exit_group SYS_epoll_ctl SYS_tgkill SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive
    SYS_mq_notify SYS_mq_getsetattr SYS_waitid SYS_ioprio_set SYS_ioprio_get SYS_inotify_add_watch
    SYS_inotify_rm_watch SYS_openat SYS_mkdirat SYS_mknodat SYS_fchownat SYS_newfstatat SYS_unlinkat SYS_renameat
    SYS_linkat SYS_symlinkat SYS_readlinkat SYS_fchmodat SYS_faccessat SYS_pselect6 SYS_ppoll SYS_set_robust_list
    SYS_get_robust_list SYS_splice SYS_tee SYS_sync_file_range SYS_vmsplice SYS_utimensat SYS_epoll_pwait
    SYS_timerfd_create SYS_fallocate SYS_timerfd_settime SYS_timerfd_gettime SYS_accept4 SYS_signalfd4 SYS_eventfd2
    SYS_epoll_create1 SYS_dup3 SYS_pipe2 SYS_inotify_init1 SYS_preadv SYS_pwritev SYS_rt_tgsigqueueinfo SYS_recvmmsg
    SYS_prlimit64 SYS_name_to_handle_at SYS_syncfs SYS_sendmmsg SYS_getcpu SYS_process_vm_readv
    SYS_process_vm_writev SYS_sched_setattr SYS_sched_getattr SYS_renameat2 SYS_seccomp SYS_getrandom
    SYS_memfd_create SYS_execveat SYS_membarrier SYS_mlock2 SYS_copy_file_range SYS_preadv2 SYS_pwritev2
    SYS_pkey_mprotect SYS_pkey_alloc SYS_pkey_free SYS_statx SYS_rseq SYS_pidfd_send_signal
    SYS_pidfd_open SYS_close_range SYS_openat2 SYS_pidfd_getfd SYS_faccessat2 SYS_process_madvise SYS_epoll_pwait2
    SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self SYS_memfd_secret
    SYS_process_mrelease SYS_futex_waitv SYS_fchmodat2
];

/// The older half of x86-64's table, which newer architectures never had.
#[cfg(target_arch = "x86_64")]
const ALLOWED_LEGACY: &[Call] = calls![
    SYS_open SYS_stat SYS_lstat SYS_poll SYS_access SYS_pipe SYS_select SYS_dup2 SYS_pause SYS_alarm SYS_fork
    SYS_vfork SYS_getdents SYS_rename SYS_mkdir SYS_rmdir SYS_creat SYS_link SYS_unlink SYS_symlink SYS_readlink
    SYS_chmod SYS_chown SYS_lchown SYS_getpgrp SYS_utime SYS_mknod SYS_arch_prctl SYS_modify_ldt SYS_time
    SYS_set_thread_area SYS_get_thread_area SYS_epoll_create SYS_epoll_wait SYS_utimes SYS_inotify_init
    SYS_futimesat SYS_signalfd SYS_eventfd
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_LEGACY: &[Call] = &[];

/// Allowed only to holders of a capability; `EPERM` to others.
const GATED: &[(&str, &[Call])] = &[
    (
        "SYS_ADMIN",
        calls![
            SYS_mount SYS_umount2 SYS_unshare SYS_setns SYS_sethostname SYS_setdomainname SYS_bpf SYS_fanotify_init
            SYS_fanotify_mark SYS_perf_event_open SYS_quotactl SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig
            SYS_fsmount SYS_fspick SYS_mount_setattr SYS_pivot_root SYS_syslog SYS_lookup_dcookie
        ],
    ),
    ("DAC_READ_SEARCH", calls![SYS_open_by_handle_at]),
    ("SYS_BOOT", calls![SYS_reboot]),
    ("SYS_CHROOT", calls![SYS_chroot]),
    ("SYS_MODULE", calls![SYS_init_module SYS_finit_module SYS_delete_module]),
    ("SYS_PACCT", calls![SYS_acct]),
    ("SYS_PTRACE", calls![SYS_kcmp]),
    ("SYS_TIME", calls![SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex]),
    ("SYS_TTY_CONFIG", calls![SYS_vhangup]),
    ("SYS_NICE", calls![SYS_mbind SYS_get_mempolicy SYS_set_mempolicy SYS_migrate_pages SYS_move_pages]),
    ("SYSLOG", calls![SYS_syslog]),
];

/// Never allowed.
const DENIED: &[Call] = calls![
    SYS_add_key SYS_request_key SYS_keyctl SYS_kexec_load SYS_swapon SYS_swapoff SYS_nfsservctl SYS_userfaultfd
    SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
];

/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`: making namespaces needs `SYS_ADMIN`.
const NAMESPACE_FLAGS: u32 = 0x7E02_0000;

fn decided(capabilities: &[String]) -> (Vec<Call>, Vec<Call>) {
    let holds = |capability: &str| capabilities.iter().any(|held| held == capability);
    let mut allowed: Vec<Call> = ALLOWED.iter().chain(ALLOWED_LEGACY).copied().collect();
    for (_, calls) in GATED.iter().filter(|(capability, _)| holds(capability)) {
        allowed.extend_from_slice(calls);
    }
    if holds("SYS_ADMIN") {
        allowed.push(("SYS_clone", libc::SYS_clone));
        allowed.push(("SYS_clone3", libc::SYS_clone3));
    }
    allowed.sort_by_key(|call| call.1);
    allowed.dedup();
    let gated = GATED.iter().flat_map(|(_, calls)| *calls);
    let mut denied: Vec<Call> =
        DENIED.iter().chain(gated).filter(|call| !allowed.contains(call)).copied().collect();
    denied.sort_by_key(|call| call.1);
    denied.dedup();
    (allowed, denied)
}

/// The filter as `linux.seccomp` of an OCI runtime specification. Capabilities without `CAP_`.
pub fn oci(capabilities: &[String]) -> Value {
    let (allowed, denied) = decided(capabilities);
    let names = |calls: &[Call]| -> Vec<&str> {
        calls.iter().map(|(name, _)| name.strip_prefix("SYS_").unwrap_or(name)).collect()
    };
    let mut rules = vec![
        json!({"names": names(&allowed), "action": "SCMP_ACT_ALLOW"}),
        json!({"names": names(&denied), "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM}),
    ];
    if !allowed.iter().any(|call| call.1 == libc::SYS_clone) {
        rules.push(json!({
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
        }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::ENOSYS,
        "architectures": ["SCMP_ARCH_NATIVE"],
        "syscalls": rules,
    })
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const ALLOW: u32 = 0x7FFF_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_FIRST_ARGUMENT: u32 = 16; // Low half, little endian.

/// The filter as a BPF program for `seccomp(2)`. Capabilities without `CAP_`.
pub fn program(capabilities: &[String]) -> Vec<libc::sock_filter> {
    let (allowed, denied) = decided(capabilities);
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let give = |answer| step(RETURN, answer, 0, 0);
    let eperm = ERRNO | libc::EPERM.cast_unsigned();
    let mut program = vec![
        step(LOAD, OFFSET_ARCHITECTURE, 0, 0),
        step(EQUAL, ARCHITECTURE, 1, 0),
        give(KILL_PROCESS),
        step(LOAD, OFFSET_NUMBER, 0, 0),
    ];
    // Runs of neighbouring numbers cost two comparisons however long they are.
    for (answer, calls) in [(ALLOW, &allowed), (eperm, &denied)] {
        for (first, last) in runs(calls) {
            program.push(step(AT_LEAST, first, 0, 2));
            program.push(step(AT_LEAST, last + 1, 1, 0));
            program.push(give(answer));
        }
    }
    if !allowed.iter().any(|call| call.1 == libc::SYS_clone) {
        program.push(step(EQUAL, number(libc::SYS_clone), 0, 4));
        program.push(step(LOAD, OFFSET_FIRST_ARGUMENT, 0, 0));
        program.push(step(ANY_BIT, NAMESPACE_FLAGS, 0, 1));
        program.push(give(eperm));
        program.push(give(ALLOW));
    }
    program.push(give(ERRNO | libc::ENOSYS.cast_unsigned()));
    program
}

fn runs(calls: &[Call]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for call in calls {
        let number = number(call.1);
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

fn number(call: i64) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer.
    fn run(program: &[libc::sock_filter], call: i64, argument: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
            match step.code {
                LOAD => {
                    loaded = match step.k {
                        OFFSET_NUMBER => number(call),
                        OFFSET_ARCHITECTURE => ARCHITECTURE,
                        _ => argument,
                    }
                }
                EQUAL => at += jump(loaded == step.k),
                AT_LEAST => at += jump(loaded >= step.k),
                ANY_BIT => at += jump(loaded & step.k != 0),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn answers() {
        let eperm = ERRNO | libc::EPERM.cast_unsigned();
        let enosys = ERRNO | libc::ENOSYS.cast_unsigned();
        let plain = program(&["CHOWN".to_owned()]);
        let admin = program(&["SYS_ADMIN".to_owned()]);
        let check = |call, argument, expect: (u32, u32)| {
            assert_eq!((run(&plain, call, argument), run(&admin, call, argument)), expect, "call {call}");
        };
        check(libc::SYS_read, 0, (ALLOW, ALLOW));
        check(libc::SYS_fchmodat2, 0, (ALLOW, ALLOW));
        check(libc::SYS_mount, 0, (eperm, ALLOW));
        check(libc::SYS_keyctl, 0, (eperm, eperm));
        check(libc::SYS_clone, 0x11, (ALLOW, ALLOW));
        check(libc::SYS_clone, 0x1000_0000, (eperm, ALLOW));
        check(libc::SYS_clone3, 0, (enosys, ALLOW));
        check(100_000, 0, (enosys, enosys));
        // The x32 table is reached by a bit in the number.
        check(libc::SYS_read | 0x4000_0000, 0, (enosys, enosys));
        assert!(plain.len() < 400);
    }

    #[test]
    fn both_forms_agree() {
        let filter = oci(&[]);
        let names = filter["syscalls"][0]["names"].as_array().unwrap();
        assert_eq!(names.len(), decided(&[]).0.len());
        assert!(names.contains(&json!("openat")));
    }
}
