package local_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	browsers "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/handover-dev/handover/internal/local/simulator"
	"github.com/handover-dev/handover/internal/realparts"
)

// browser is a real Chromium without a window, with one tab.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string // errors on the console, requests to another host
}

// openBrowser opens the page at home, in light colours. Whatever the browser complains of, and each request to another host than home's, fails the test.
func openBrowser(t *testing.T, home string) *browser {
	t.Helper()
	b := &browser{t: t}
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(realparts.Chromium(t)), chromedp.WSURLReadTimeout(2*time.Minute), chromedp.NoSandbox, chromedp.Flag("headless", true), chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithListener(b.listen(home)))
	ctx, cancelTimeout := context.WithTimeout(ctx, 9*time.Minute)
	b.ctx = ctx
	t.Cleanup(func() {
		cancelTimeout()
		cancel()
		cancelAllocator()
		for _, complaint := range b.complaints {
			t.Errorf("the browser complains: %s", complaint)
		}
	})
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	b.dark(false)
	b.do(chromedp.Navigate(home + "/"))
	b.until(`document.querySelector("#live").className === "ok"`)
	return b
}

func (b *browser) listen(home string) func(any) {
	own, err := url.Parse(home)
	if err != nil {
		b.t.Fatal(err)
	}
	complain := func(text string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, text)
	}
	return func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err != nil || u.Host != own.Host && u.String() != "about:blank" {
				complain("a request to " + e.Request.URL)
			}
		case *log.EventEntryAdded:
			complain("log: " + e.Entry.Text + " " + e.Entry.URL)
		case *runtime.EventConsoleAPICalled:
			complain("console: " + string(e.Type))
		case *runtime.EventExceptionThrown:
			complain("exception: " + e.ExceptionDetails.Text)
		}
	}
}

func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval is the value of an expression of the page's, as text.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("(async () => String(await ("+expression+")))()", chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return s
}

// until waits until an expression of the page's is true.
func (b *browser) until(expression string) {
	b.t.Helper()
	for range 1200 {
		if b.eval(expression) == "true" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatalf("never true: %s\n%s", expression, b.eval("document.body.innerText"))
}

// click clicks on the first element of a CSS selector that can be seen, once no part of the page is being fetched that could move it from under the mouse.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.until(`Object.keys(underWay).length === 0`)
	b.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

func (b *browser) dark(dark bool) {
	b.t.Helper()
	scheme := map[bool]string{false: "light", true: "dark"}[dark]
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// picture takes a picture of what is seen, small enough for the README. It is kept if SCREENSHOTS names a folder:
//
//	SCREENSHOTS=$PWD/.github go test ./internal/local -run TestPageInBrowser
func (b *browser) picture(name string) {
	b.t.Helper()
	quality := int64(82)
	picture, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
	if err != nil {
		b.t.Fatal(err)
	}
	if size := len(picture.Data); size < 5_000 || size > 150_000 {
		b.t.Errorf("the picture %s has %d bytes", name, size)
	}
	if folder := os.Getenv("SCREENSHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".webp"), picture.Data, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
}

// play presses a story's button and waits for the story's end.
func (b *browser) play(name string) {
	b.t.Helper()
	button := `[data-story="` + name + `"]`
	b.click(button)
	b.until("document.querySelector('#story h3').textContent === document.querySelector('" + button + "').textContent && document.querySelector('#story [data-agrees]') !== null")
}

// faultsOfSight is an expression for what is hard to see or to use on the page as it is now: text whose contrast is below WCAG's AA, that is small or cut off, that runs out of the
// window; what has no name for a screen reader; an id twice.
const faultsOfSight = `(() => {
	const faults = [];
	const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
	const rgba = color => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = color;
		canvas.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
		return [r, g, b, a / 255];
	};
	const over = (top, below) => below.map((c, i) => i < 3 ? top[i] * top[3] + c * (1 - top[3]) : 1);
	const ground = e => e ? over(rgba(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : rgba('Canvas');
	const light = c => {
		const [r, g, b] = c.map(x => x / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const scope = document.querySelector('dialog[open]') ?? document.body;
	const texts = document.createTreeWalker(scope, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		if (!texts.currentNode.data.trim() || e.closest('.hide, option, button:disabled') || !e.checkVisibility({ visibilityProperty: true })) continue;
		const style = getComputedStyle(e), back = ground(e), front = over(rgba(style.color), back);
		const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
		const name = e.tagName + ' "' + texts.currentNode.data.trim().slice(0, 40) + '"';
		if ((a + .05) / (b + .05) < 4.5) faults.push(name + ': contrast ' + ((a + .05) / (b + .05)).toFixed(2));
		if (parseFloat(style.fontSize) < 12) faults.push(name + ': ' + style.fontSize);
		const range = document.createRange();
		range.selectNodeContents(texts.currentNode);
		for (const box of range.getClientRects()) if (box.right > innerWidth + 1 || box.left < -1) faults.push(name + ': outside of the window');
	}
	for (const e of scope.querySelectorAll('*')) {
		if (e.scrollWidth > e.clientWidth + 1 && e.checkVisibility() && !e.closest('.hide') && getComputedStyle(e).overflowX !== 'visible') faults.push(e.tagName + '.' + e.className + ': is cut off, or scrolls sideways');
	}
	if (document.documentElement.scrollWidth > innerWidth) faults.push('the page scrolls sideways');
	for (const e of scope.querySelectorAll('button, a, summary')) if (!(e.ariaLabel ?? e.textContent).trim()) faults.push(e.outerHTML + ': no name');
	for (const e of scope.querySelectorAll('input, textarea')) if (!e.labels.length) faults.push(e.outerHTML + ': no label');
	for (const e of document.querySelectorAll('[id]')) if (document.querySelectorAll('#' + CSS.escape(e.id)).length > 1) faults.push(e.id + ': twice');
	return faults.join('\n');
})()`

// see looks at the page at both widths and in both colours.
func (b *browser) see(what string) {
	b.t.Helper()
	for _, width := range []int64{1280, 390} {
		b.size(width, map[int64]int64{1280: 900, 390: 844}[width])
		for _, dark := range []bool{true, false} {
			b.dark(dark)
			if faults := b.eval(faultsOfSight); faults != "" {
				b.t.Errorf("%s, %d pixels wide, dark %v:\n%s", what, width, dark, faults)
			}
		}
	}
	b.size(1280, 900)
}

// Every story's button works, and what was expected has come. All that is shown can be read.
func TestPageInBrowser(t *testing.T) {
	url := startTold(t)
	b := openBrowser(t, url)
	b.see("the start")
	names, _ := storyNames(t, url)
	for _, name := range names {
		b.play(name)
		if agrees := b.eval(`document.querySelector('#story [data-agrees]').dataset.agrees`); agrees != "true" {
			t.Errorf("%s:\n%s", name, b.eval(`document.querySelector('#story').innerText`))
		}
		b.see(name)
		switch name {
		case "same-watch":
			b.size(1280, 1240)
			b.picture("console")
			b.size(390, 844)
			b.eval(`document.querySelector('#story').scrollIntoView()`)
			b.picture("console-phone")
			b.size(1280, 900)
		case "forged":
			b.dark(true)
			b.eval(`document.querySelector('#filter').scrollIntoView()`)
			b.picture("console-dark")
			b.dark(false)
		}
	}
	ask(t, "POST", url+"/webhook", "{\"type\":\n nonsense}", signed("{\"type\":\n nonsense}"))
	b.until(`document.querySelector('#webhooks .row .kind').textContent === 'no type'`)
	b.until(`document.querySelector('#sent').textContent.includes('not_json')`)
	b.click("#webhooks .row")
	b.until(`document.querySelector('#detail mark')?.textContent === 'o'`)
	b.see("a body with a fault")
	b.click("#detail [data-close]")
	b.click("#announcements .row")
	b.until(`document.querySelector('#detail').open && document.querySelector('.attributes').textContent.includes('handover.')`)
	b.see("an announcement")
	b.click("#detail [data-close]")
	b.eval(`document.querySelectorAll('#accounts details').forEach(d => d.open = true)`)
	b.see("why")
	b.click(`[data-story="same-watch"]`)
	b.until(`document.querySelector('#story [data-agrees]') !== null && document.querySelector('#story h3').textContent.startsWith('The same watch')`)
	if open := b.eval(`document.querySelectorAll('#accounts details[open]').length > 3`); open != "true" {
		t.Error("what was open is shut after news")
	}
}

// Without a simulated Terra, and before anything has happened, the page says what to do.
func TestEmptyPageInBrowser(t *testing.T) {
	b := openBrowser(t, start(t))
	b.see("an empty page")
	for _, want := range []string{"No webhook yet", "No account yet", "Nothing yet", "needs the simulated Terra", "/webhook"} {
		if !strings.Contains(b.eval("document.body.innerText"), want) {
			t.Errorf("the page does not say %q:\n%s", want, b.eval("document.body.innerText"))
		}
	}
	b.play("forged")
	if agrees := b.eval(`document.querySelector('#story [data-agrees]').dataset.agrees`); agrees != "true" {
		t.Error(b.eval(`document.querySelector('#story').innerText`))
	}
}

// All can be done without a mouse, and what the program has to tell comes by itself.
func TestKeyboardInBrowser(t *testing.T) {
	url := startTold(t)
	b := openBrowser(t, url)
	keys := func(keys string) { b.do(chromedp.KeyEvent(keys)) }
	shown := `[...document.querySelectorAll('#webhooks li')].filter(r => !r.hidden).map(r => r.querySelector('.who').textContent).join()`

	slash := func() {
		call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/"}) // as one event, as it comes from a keyboard
		b.until(`document.activeElement.id === 'filter'`)
	}
	slash()
	keys("ALICE")
	b.until(shown + ` === 'alice'`)
	body := string(simulator.Newer.Athlete(simulator.User{UserID: "u-carol", Provider: "GARMIN", ReferenceID: "carol", CreatedAt: time.Now()}, "carols-watch"))
	ask(t, "POST", url+"/webhook", body, signed(body))
	b.until(`document.querySelector('#webhook-4') !== null`)
	b.until(shown + ` === 'alice'`)
	keys(kb.Escape)
	b.until(shown + ` === 'carol,bob,bob,alice'`)
	slash()
	keys("u-CAROL") // no row shows it whole
	b.until(shown + ` === 'carol'`)
	b.until(`[...document.querySelectorAll('.account')].filter(a => !a.hidden).length === 1`)
	keys(kb.Escape)
	b.until(shown + ` === 'carol,bob,bob,alice'`)
	slash()
	keys("xyzzy")
	b.until(`document.querySelector('#unfit').textContent === 'Nothing here fits the filter.'`)
	keys(kb.Escape)
	b.until(shown + ` === 'carol,bob,bob,alice' && document.querySelector('#unfit').textContent === ''`)

	keys("jj")
	b.until(`document.activeElement.dataset.open === '/console/webhooks/3'`)
	keys("k")
	b.until(`document.activeElement.dataset.open === '/console/webhooks/4'`)
	keys(kb.Enter)
	b.until(`document.querySelector('#detail').open && document.querySelector('#detail-title').textContent.includes('webhook 4') && location.hash === '#webhooks/4'`)
	keys("r")
	b.until(`document.querySelector('#detail-title').textContent.includes('webhook 5') && location.hash === '#webhooks/5' && document.querySelector('#detail .chip').textContent === 'known'`)
	b.until(`document.querySelector('#webhook-5 [aria-current]') !== null`)

	b.click(`#detail [data-key="change"] summary`)
	b.do(chromedp.SetValue(chromedp.CSS("#changed"), strings.Replace(body, `"carol"`, `"dora"`, 1)))
	b.click(`#detail [data-body]`)
	b.until(`document.querySelector('#detail-title').textContent.includes('webhook 6') && document.querySelector('#webhook-6 .who').textContent === 'dora'`)
	keys(kb.Escape)
	b.until(`!document.querySelector('#detail').open && location.hash === ''`)

	for hash, opens := range map[string]string{"webhooks/4": "true", "webhooks/4/body": "false", "story": "false", "../api/accounts": "false"} {
		b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(url+"/#"+hash))
		b.until(`document.querySelector('#live')?.className === 'ok'`)
		if got := b.eval(`(async () => { await new Promise(done => setTimeout(done, 300)); return document.querySelector('#detail').open })()`); got != opens {
			t.Errorf("a link to #%s opens something: %s", hash, got)
		}
	}
	b.eval(`stream.dispatchEvent(new MessageEvent('missed', { data: '5' }))`)
	b.until(`document.querySelector('#missed').innerText === '5 missed: reload'`)
	b.click("#missed button")
	b.until(`document.querySelector('#live')?.className === 'ok' && document.querySelector('#missed').hidden`)
}

// What is copied is on the clipboard as the program has it.
func TestCopyInBrowser(t *testing.T) {
	url := startTold(t)
	b := openBrowser(t, url)
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(b.ctx, browsers.SetPermission, browsers.SetPermissionParams{
			Permission: &browsers.PermissionDescriptor{Name: name}, Setting: browsers.PermissionSettingGranted,
		}); err != nil {
			t.Fatal(err)
		}
	}
	b.click("#webhooks .row")
	for _, kind := range []string{"curl", "command"} {
		button := `[data-copy="/console/webhooks/3/` + kind + `"]`
		b.click("#detail " + button)
		b.until(`document.querySelector('` + button + `').textContent === 'Copied'`)
		copied, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`navigator.clipboard.readText()`, chromedp.EvalAwaitPromise))
		if _, want := ask(t, "GET", url+"/console/webhooks/3/"+kind, "", nil); err != nil || copied != want {
			t.Errorf("%s: copied %q, want %q (%v)", kind, copied, want, err)
		}
	}
}
