// Command handover is the tool of Handover: it runs everything on one machine, sends signed webhooks, and tells what a Handover knows and why, of the local
// program or of a deployed stack.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/handover-dev/handover/internal/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := tool{getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(t.status(t.run(ctx, os.Args[1:])))
}

// tool is what a command has of the world.
type tool struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// command is one of the tool's commands.
type command struct {
	name, does string
	run        func(t tool, ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"serve", "run Handover on this machine: no account and no Docker needed", tool.serve},
		{"send", "send a signed webhook of any kind to any URL", tool.send},
		{"stories", "play the known stories, with the expected outcome beside the real one", tool.stories},
		{"verify", "is this body signed by this secret? If not, which rule fails", tool.verify},
		{"explain", "why an account is whose it is: each claim, each decision and why", tool.explain},
		{"owner", "who owns an account", tool.owner},
		{"transfers", "the changes of owner that were announced", tool.transfers},
		{"connections", "the connections that are known", tool.connections},
		{"unsettled", "the connections that are not settled yet, and why", tool.unsettled},
		{"show", "everything held about one of your users, or about one connection", tool.show},
		{"forget", "erase everything held about one of your users, or about one connection", tool.forget},
		{"doctor", "examine a deployed stack end to end", tool.doctor},
		{"try-subscriber", "drive your own endpoint through what it will meet, and report what it does wrong", tool.trySubscriber},
		{"settle", "try everything that waits now", tool.settle},
		{"backfill", "take over the connections of an app that is already live; first, what would be announced", tool.backfill},
		{"replay", "send announcements from a dead-letter queue once more", tool.replay},
		{"events", "write a signed API Gateway event of every type, for sam local invoke", tool.events},
		{"version", "which Handover this is", tool.version},
	}
}

// The exit codes.
const (
	statusFault = 1 // it failed, or found a fault
	statusUsage = 2 // the command line, or a setting, is at fault
)

// errUsage ends the program with statusUsage.
var errUsage = errors.New("the command line is at fault")

// usage is a fault of the command line of a command, told in one line whatever was given, and what to do about it.
func usage(command, format string, values ...any) error {
	fault := strings.ReplaceAll(fmt.Sprintf(format, values...), "\n", `\n`)
	return fmt.Errorf("%s\nSee handover %s -h%w", fault, command, silent{errUsage})
}

// silent is an error that is found by errors.Is, but adds nothing to the text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// status tells of an error, and returns the exit code for it.
func (t tool) status(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(t.stderr, "handover:", err)
		return statusUsage
	}
	fmt.Fprintln(t.stderr, "handover:", err)
	return statusFault
}

// run runs a command line. What could not be written is an error too, whatever the command made of it.
func (t tool) run(ctx context.Context, args []string) error {
	out := &output{Writer: t.stdout}
	t.stdout = out
	if err := t.command(ctx, args); err != nil && !errors.Is(err, flag.ErrHelp) {
		return err
	}
	return out.err
}

func (t tool) command(ctx context.Context, args []string) error {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "", "-h", "-help", "--help", "help":
		if len(args) == 0 {
			t.help()
			return flag.ErrHelp
		}
		name, args = args[0], []string{"-h"}
	case "-version", "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(t, ctx, args)
		}
	}
	return fmt.Errorf("there is no command %q: handover -h lists them%w", name, silent{errUsage})
}

func (t tool) help() {
	fmt.Fprint(t.stdout, `Handover tells your backend the moment a wearable account passes from one of your users to another.

Begin here, in two terminals:

  $ handover serve
  $ handover send athlete -set user.reference_id=alice
  200 in 4 ms: http://127.0.0.1:8080/webhook took an athlete of alice
  $ handover send athlete -set user.reference_id=bob
  200 in 5 ms: http://127.0.0.1:8080/webhook took an athlete of bob
  $ handover transfers

Usage: handover COMMAND [flags]

`)
	for _, c := range commands() {
		fmt.Fprintf(t.stdout, "  %-15s %s\n", c.name, c.does)
	}
	fmt.Fprint(t.stdout, `
handover COMMAND -h shows examples and flags. Exit codes: 0 done, 1 it failed or found a fault, 2 the command line is at fault.
`)
}

// flags are the flags of one command.
type flags struct {
	*flag.FlagSet
	asJSON bool
	help   func()
}

// flags begins the flags of a command. Its help is the examples, and then the flags.
func (t tool) flags(name, examples string) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError)}
	f.SetOutput(io.Discard)
	f.Usage = func() {} // called for a mistake, too, which is told in a line
	f.help = func() {
		fmt.Fprintf(t.stdout, "%s\nFlags:\n", strings.TrimPrefix(examples, "\n"))
		f.SetOutput(t.stdout)
		f.PrintDefaults()
	}
	return f
}

// parse reads the arguments: flags, and between them exactly the named ones, which it returns in order. One in brackets may be missing, and is then "".
func (f *flags) parse(args []string, names ...string) ([]string, error) {
	given, err := f.some(args)
	if err != nil {
		return nil, err
	}
	if len(given) > len(names) {
		return nil, usage(f.Name(), "handover %s takes no argument %q", f.Name(), given[len(names)])
	}
	for _, missing := range names[len(given):] {
		if !strings.HasPrefix(missing, "[") {
			return nil, usage(f.Name(), "%s is missing: handover %s %s", missing, f.Name(), strings.Join(names, " "))
		}
		given = append(given, "")
	}
	return given, nil
}

// some reads the arguments: flags, and between them any others, which it returns.
func (f *flags) some(args []string) (given []string, err error) {
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			f.help()
			return nil, err
		} else if err != nil {
			return nil, usage(f.Name(), "%v", err)
		}
		if args = f.Args(); len(args) == 0 {
			return given, nil
		}
		given, args = append(given, args[0]), args[1:]
	}
}

// webURL is a URL of http or https. Anything else is a fault of the command line, told by the name of the flag or argument.
func (f *flags) webURL(name, value, example string) (*url.URL, error) {
	u, err := settings.ParseURL(value)
	if err != nil {
		return nil, usage(f.Name(), "%s is %q: it should be a URL such as %s", name, value, example)
	}
	return u, nil
}

// secret adds the flag for a signing secret. An empty one, such as an unset variable makes, is refused: it is nobody's, and no other is meant.
func (f *flags) secret(usage string, given func(string)) {
	f.Func("secret", usage, func(secret string) error {
		if secret == "" {
			return errors.New("it should be Terra's signing secret, not empty")
		}
		given(secret)
		return nil
	})
}

// span is a flag for a length of time, which is not negative.
type span time.Duration

func (s *span) String() string { return time.Duration(*s).String() }

func (s *span) Set(text string) error {
	length, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	if length < 0 {
		return errors.New("it should not be negative")
	}
	*s = span(length)
	return nil
}

// span adds such a flag.
func (f *flags) span(p *time.Duration, name string, length time.Duration, usage string) {
	*p = length
	f.Var((*span)(p), name, usage)
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }
