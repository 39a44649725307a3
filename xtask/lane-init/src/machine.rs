//! The machine around the tests: file systems, modules, its end.

use lane_init::Module;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// What is mounted where.
const MOUNTS: [(&str, &str); 7] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
];

/// Links that programs expect in `/dev`.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Makes the file systems that programs expect.
pub(crate) fn mount() -> Result<(), String> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).map_err(|reason| format!("making {place}: {reason}"))?;
        let [kind_text, place_text] = [kind, place].map(|text| CString::new(text).unwrap_or_default());
        // SAFETY: all strings end with a zero and outlive the call.
        let result = unsafe {
            libc::mount(kind_text.as_ptr(), place_text.as_ptr(), kind_text.as_ptr(), 0, std::ptr::null())
        };
        // The kernel may have mounted /dev already.
        let reason = io::Error::last_os_error();
        if result != 0 && reason.raw_os_error() != Some(libc::EBUSY) {
            return Err(format!("mounting {place}: {reason}"));
        }
    }
    for (target, link) in LINKS {
        // What is there already is as good.
        let _ = symlink(target, link);
    }
    loopback();
    Ok(())
}

/// Switches the network's loop on: servers of tests listen there.
fn loopback() {
    // SAFETY: the structure is a local, all zeroes are valid for it, and the name is shorter than its place.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = *byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket, libc::SIOCSIFFLAGS, &request);
        libc::close(socket);
    }
}

/// Lets bytes through a serial port as they are.
pub(crate) fn raw(port: &File) -> io::Result<()> {
    // SAFETY: the structure is a local that the first call fills.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(port.as_raw_fd(), &mut settings) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::cfmakeraw(&mut settings);
        settings.c_cflag = settings.c_cflag & !libc::CBAUD | libc::B115200;
        if libc::tcsetattr(port.as_raw_fd(), libc::TCSANOW, &settings) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Loads modules in this order.
pub(crate) fn load(modules: &[Module]) -> Result<(), String> {
    for module in modules {
        let file = File::open(&module.file).map_err(|reason| format!("{}: {reason}", module.file))?;
        let parameters = CString::new(module.parameters.as_str()).unwrap_or_default();
        // SAFETY: the descriptor is open, and the string ends with a zero and outlives the call.
        let result =
            unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) };
        if result != 0 {
            let reason = io::Error::last_os_error();
            let last = log().pop().unwrap_or_default();
            return Err(format!("loading {}: {reason} (the kernel's last word: {last})", module.file));
        }
    }
    Ok(())
}

/// Gives /dev/kvm the rights that usual systems give it: root's and its group's.
pub(crate) fn open_kvm_to_its_group() -> Result<(), String> {
    fs::set_permissions("/dev/kvm", fs::Permissions::from_mode(0o660))
        .map_err(|reason| format!("/dev/kvm, with its modules loaded: {reason}"))
}

/// The kernel and the parameters that decide how KVM finds a guest's memory.
pub(crate) fn description() -> String {
    let text = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let mut description = format!("Linux {}", text("/proc/sys/kernel/osrelease").unwrap_or_default());
    for (module, parameter) in [("kvm_amd", "npt"), ("kvm_intel", "ept")] {
        let path = Path::new("/sys/module").join(module).join("parameters").join(parameter);
        if let Ok(value) = text(&path.to_string_lossy()) {
            description += &format!(", {module} with {parameter}={value}");
        }
    }
    description
}

/// The lines of the kernel's log.
fn log() -> Vec<String> {
    const READ_ALL: libc::c_int = 3;
    let mut text = vec![0_u8; 1 << 20];
    // SAFETY: the buffer is as long as the call is told.
    let length = unsafe { libc::klogctl(READ_ALL, text.as_mut_ptr().cast(), text.len() as libc::c_int) };
    text.truncate(usize::try_from(length).unwrap_or(0));
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// What the kernel complained of.
pub(crate) fn complaints() -> Vec<String> {
    let signs = ["BUG:", "WARNING:", "Oops", "soft lockup", "rcu_sched detected"];
    let complaint = |line: &String| signs.iter().any(|sign| line.contains(sign));
    log().into_iter().filter(complaint).take(5).collect()
}

/// Ends the machine.
pub(crate) fn power_off() -> ! {
    // SAFETY: neither call takes a pointer.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    loop {
        std::thread::park();
    }
}
