// The page's script puts what the server renders where it belongs. It makes no HTML of its own.
'use strict';

const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
const filter = $('#filter'), dialog = $('#detail'), live = $('#live'), missed = $('#missed');
const maxRows = 1000;

// nodes are the elements of HTML that this page's own server has made as such: html/template has escaped what others have sent.
function nodes(html) {
  const template = document.createElement('template');
  template.innerHTML = html;
  return [...template.content.children];
}

async function get(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

async function part(path) {
  const answer = await get(path);
  if (!answer.headers.get('Content-Type').startsWith('text/html')) throw new Error('That is no part of this page.');
  return nodes(await answer.text());
}

function say(text) {
  $('span', missed).textContent = text;
  missed.hidden = false;
}

// refresh fetches a part of the page anew. What is open stays open. Calls that come while one is under way make one more.
const underWay = {};
async function refresh(name) {
  if (name in underWay) { underWay[name] = true; return; }
  do {
    underWay[name] = false;
    try {
      const parts = await part('/console/' + name);
      const open = new Set($$('details[open][data-key]').map(d => d.dataset.key));
      const focused = document.activeElement?.closest('details[data-key]')?.dataset.key;
      for (const element of parts) {
        for (const details of $$('details[data-key]', element)) details.open = open.has(details.dataset.key);
        document.getElementById(element.id).replaceWith(element);
        const same = $$('details[data-key]', element).find(d => d.dataset.key === focused);
        if (same) $('summary', same).focus();
      }
      applyFilter();
    } catch { /* the stream's state says that the program is away; when it is back, everything is refreshed */ }
    await new Promise(done => setTimeout(done, 200));
  } while (underWay[name]);
  delete underWay[name];
}

// The live stream. The browser connects again by itself, and says in Last-Event-ID where it was.
const stream = new EventSource('/console/stream?after=' + document.body.dataset.last);
stream.onopen = () => { live.textContent = 'live'; live.className = 'ok'; refresh('state'); refresh('story'); };
stream.onerror = () => { live.textContent = 'connection lost, trying again'; live.className = 'bad'; };
stream.addEventListener('refresh', e => refresh(e.data));
stream.addEventListener('missed', e => say(e.data ? e.data + ' missed:' : 'The program was started again:'));
for (const [kind, list] of [['webhook', $('#webhooks')], ['announcement', $('#announcements')]]) {
  stream.addEventListener(kind, e => {
    for (const row of nodes(e.data)) {
      if (row.id && document.getElementById(row.id)) continue;
      // Webhooks are sorted by arrival, and may be answered in another order.
      const older = row.dataset.number ? $$('li', list).find(r => +r.dataset.number < +row.dataset.number) : list.firstChild;
      list.insertBefore(row, older ?? null);
      row.classList.add('new');
    }
    while (list.children.length > maxRows) list.lastChild.remove();
    applyFilter();
  });
}

// What is filtered is the text that is seen, and the ids whole: a row shows their beginnings, if any.
function applyFilter() {
  const wanted = filter.value.toLowerCase();
  let fits = !wanted;
  for (const item of $$('.lane li:has(> .row), .lane .waits, .lane .account')) {
    const texts = [item.textContent, item.dataset.ids ?? '', ...$$('[title]', item).map(e => e.title)];
    item.hidden = !texts.some(text => text.toLowerCase().includes(wanted));
    fits ||= !item.hidden;
  }
  $('#unfit').textContent = fits ? '' : 'Nothing here fits the filter.';
}
filter.addEventListener('input', applyFilter);

// show opens the details of a webhook or of an announcement.
async function show(path) {
  try {
    $('div', dialog).replaceChildren(...await part(path));
  } catch (error) { say(error.message); return; }
  for (const row of $$('.row')) row.ariaCurrent = row.dataset.open === path;
  history.replaceState(null, '', '#' + path.replace('/console/', ''));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  $('#detail-title').focus();
}
dialog.addEventListener('close', () => history.replaceState(null, '', ' '));

async function replay(button) {
  const body = button.dataset.body && document.getElementById(button.dataset.body).value;
  try {
    const answer = await get(button.dataset.replay, { method: 'POST', body });
    await show('/console/webhooks/' + (await answer.json()).number);
  } catch (error) { say(error.message); }
}

async function copy(button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(await (await get(button.dataset.copy)).text());
    button.textContent = 'Copied';
  } catch (error) { button.textContent = 'Could not copy'; }
  setTimeout(() => { button.textContent = label; }, 1500);
}

async function play(button) {
  for (const b of $$('[data-story]')) b.ariaPressed = b === button;
  button.ariaBusy = true;
  $('#story').scrollIntoView({ block: 'nearest' });
  try {
    await get('/api/stories/' + button.dataset.story, { method: 'POST' });
    await refresh('story');
  } catch (error) { say(error.message); }
  button.ariaBusy = false;
}

document.addEventListener('click', e => {
  const button = e.target.closest('button');
  if (!button) return;
  if (button.dataset.open) show(button.dataset.open);
  else if (button.dataset.story) play(button);
  else if (button.dataset.replay) replay(button);
  else if (button.dataset.copy) copy(button);
  else if ('close' in button.dataset) dialog.close();
  else if (missed.contains(button)) location.reload();
});

document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches('input, textarea')) {
    if (e.key === 'Escape' && e.target === filter) { filter.value = ''; applyFilter(); filter.blur(); }
    return;
  }
  if (dialog.open) {
    if (e.key === 'r') $('[data-replay]', dialog)?.click();
    return;
  }
  if (e.key === '/') { e.preventDefault(); filter.focus(); }
  if (e.key === 'j' || e.key === 'k') {
    const rows = $$('.row').filter(r => r.offsetParent);
    const at = rows.indexOf(document.activeElement);
    rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + (e.key === 'j' ? 1 : -1)))]?.focus();
  }
});

// A link to a webhook or an announcement, and to nothing else.
if (/^#(webhooks\/\d+|announcements\/[0-9a-f]+)$/.test(location.hash)) show('/console/' + location.hash.slice(1));
