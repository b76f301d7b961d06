package realparts

import "syscall"

// dieWithParent lets the kernel kill a child when the thread that started it ends, so that a killed test leaves nothing running.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
