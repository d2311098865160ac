//! The program in the image of the data directories that the tests of old formats open: answers every request on port
//! 8080 with one line. No library, so that the image is a few KiB. Built with:
//! rustc --edition 2024 -C panic=abort -C opt-level=z -C strip=symbols -C relocation-model=static \
//!   -C link-args="-nostartfiles -nostdlib -static -Wl,--build-id=none,-z,noseparate-code,-N" tiny.rs
#![no_std]
#![no_main]

use core::arch::asm;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

unsafe fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let answer: isize;
    // SAFETY: who calls says what the kernel reads and writes; the two registers that it spoils are named.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b, in("rdx") c,
            out("rcx") _, out("r11") _, options(nostack));
    }
    answer
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: close\r\n\r\nwritten long ago\n";

#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    // SAFETY: every address is that of a live array, with its length.
    unsafe {
        // AF_INET, port 8080 in network byte order, any address.
        let address: [u8; 16] = [2, 0, 0x1f, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let socket = call(41, 2, 1, 0) as usize;
        call(49, socket, address.as_ptr() as usize, 16);
        call(50, socket, 64, 0);
        call(1, 1, b"listening\n".as_ptr() as usize, 10);
        let mut request = [0u8; 2048];
        loop {
            let connection = call(43, socket, 0, 0) as usize;
            call(0, connection, request.as_mut_ptr() as usize, request.len());
            call(1, connection, ANSWER.as_ptr() as usize, ANSWER.len());
            call(3, connection, 0, 0);
        }
    }
}
