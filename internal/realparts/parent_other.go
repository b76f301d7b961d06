//go:build !linux

package realparts

import "syscall"

// dieWithParent asks for nothing: only Linux can kill a child with its parent, and the real parts run only there.
func dieWithParent() *syscall.SysProcAttr { return nil }
