'use strict';

const COLOURS = 6; // of the style sheet, for parts that match
const EVERY = 300; // milliseconds between two questions how far it is
const TRIES = 5; // while the server does not answer
const SVG = 'http://www.w3.org/2000/svg';
const at = (id) => document.getElementById(id);

let current = null; // {file, request, id}: the search that is shown

function element(name, about = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, about);
  made.append(...children);
  return made;
}

function drawn(name, about, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(about)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function clock(seconds) {
  const tenths = Math.round(10 * seconds);
  const minutes = Math.floor(tenths / 600) % 60, hours = Math.floor(tenths / 36000);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, '0');
  return hours ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// What is going on.

function tell(text, share) {
  at('work').hidden = false;
  if (at('stage').textContent !== text) at('stage').textContent = text;
  if (share === null || share === undefined) at('share').removeAttribute('value');
  else at('share').value = share;
}

function fail(sentence) {
  at('work').hidden = true;
  at('error').textContent = sentence;
  at('error').hidden = false;
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

function cancel() {
  if (!current) return;
  if (current.request) current.request.abort();
  if (current.id) fetch(`searches/${current.id}`, {method: 'DELETE', keepalive: true}).catch(() => {});
  current = null;
  at('work').hidden = true;
}

// From a file to an answer.

function upload(search, least) {
  return new Promise((done, failed) => {
    const request = search.request = new XMLHttpRequest();
    request.open('POST', least === undefined ? 'searches' : `searches?least=${least}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.responseType = 'json';
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) tell('Sending the video', event.loaded / event.total);
    };
    request.onload = () => done(request);
    request.onerror = () => failed(new Error('The server does not answer. Is it running?'));
    request.send(search.file);
  });
}

async function accepted(search, least) {
  for (;;) {
    tell('Sending the video', 0);
    const request = await upload(search, least);
    if (request.status !== 503) {
      if (request.status < 300) return request.response;
      throw new Error(sentence(request.response?.error ?? `The server answers with status ${request.status}`));
    }
    let left = Number(request.getResponseHeader('Retry-After')) || 5;
    for (; left > 0 && search === current; left--) {
      tell(`The server has no place just now; it is asked again in ${left} s`, null);
      await pause(1000);
    }
    if (search !== current) return null;
  }
}

async function ask(search) {
  for (let tries = 1; ; tries++) {
    try {
      const response = await fetch(`searches/${search.id}`);
      const told = await response.json();
      if (!response.ok) throw Object.assign(new Error(sentence(told.error)), {final: true});
      return told;
    } catch (error) {
      if (error.final) throw error;
      if (tries === TRIES) throw new Error('The server does not answer any more.');
      await pause(1000);
    }
  }
}

function progress(told) {
  if (told.state === 'waiting') {
    const {ahead} = told;
    tell(ahead ? `Waiting for ${ahead} other search${ahead > 1 ? 'es' : ''}` : 'About to begin', null);
  } else if (told.progress.stage === 'reading') {
    tell('Reading the video', told.progress.share);
  } else {
    tell('Comparing it with the index', told.progress.share);
  }
}

async function start(file, least) {
  cancel();
  at('error').hidden = at('found').hidden = true;
  const most = Number(at('query').dataset.most);
  if (file.size > most) {
    fail(`${file.name} is too large: ${(file.size / 1e6).toFixed(1)} MB, where ${most / 1e6} MB are taken.`);
    return;
  }
  const own = current = {file};
  try {
    let told = await accepted(own, least);
    while (own === current) {
      own.id = told.id;
      if (told.state === 'failed') throw new Error(sentence(told.error));
      if (told.state === 'done') {
        at('work').hidden = true;
        show(own, told.result, least);
        return;
      }
      progress(told);
      await pause(EVERY);
      if (own === current) told = await ask(own);
    }
  } catch (error) {
    if (own === current) {
      current = null;
      fail(error.message);
    }
  }
}

// What was found.

function show(search, result, least = 0.5) {
  const found = at('found'), {matches} = result;
  const best = matches[0];
  const lead = matches.length
    ? `${matches.length === 1 ? 'One video' : `Best of ${matches.length}`}: ${best.name}, with a score of ${best.score.toFixed(2)}.`
    : `Nothing was found with a score of at least ${least}.`;
  const about = `${search.file.name}, ${clock(result.query.duration)} long, among ${result.videos.toLocaleString('en')} videos.`;
  found.replaceChildren(element('p', {className: 'lead'}, lead), element('p', {className: 'about'}, about + flaws(result.query)));
  if (matches.length) found.append(table(search, result));
  else if (result.best !== null) found.append(nearest(search, result.best));
  if (result.false_alarms !== null) {
    found.append(element('p', {className: 'about'},
      `A score of 1 says that all of your video is in the other. Of 1,000 videos without a copy about ${+result.false_alarms.toFixed(2)} would have 0.5 or more.`));
  }
  found.hidden = false;
  found.focus({preventScroll: true});
}

function flaws(query) {
  const damaged = query.damaged ? ` ${query.damaged} of its frames are damaged.` : '';
  return damaged + (query.resized ? ' The size of its pictures changes.' : '');
}

function nearest(search, best) {
  const button = element('button', {type: 'button'}, 'List the nearest videos nevertheless');
  button.onclick = () => start(search.file, 0);
  return element('p', {}, `The best score is ${best.toFixed(3)}. `, button);
}

function table(search, result) {
  const head = ['', 'video', 'score', 'length', 'where']
    .map((name) => element('th', {scope: 'col', className: ['', 'video', 'where'].includes(name) ? `left ${name}` : name}, name));
  const rows = result.matches.map((match, place) => row(search, result.query, match, place));
  return element('div', {className: 'scroll'}, element('table', {className: 'matches'},
    element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)));
}

function row(search, query, match, place) {
  const bar = element('i');
  bar.style.width = `${100 * Math.min(Math.max(match.score, 0), 1)}%`;
  const name = element('th', {scope: 'row'}, match.name);
  if (match.pictures) name.append(pictures(search, match));
  return element('tr', {},
    element('td', {className: 'rank'}, String(place + 1)), name,
    element('td', {className: 'score'}, match.score.toFixed(3), element('div', {className: 'meter'}, bar)),
    element('td', {className: 'length'}, clock(match.duration)),
    element('td', {className: 'where'}, ...where(query, match)));
}

function pictures(search, match) {
  const sides = [['yours', match.pictures.query], ['this', match.pictures.video]];
  return element('div', {className: 'pair'}, ...sides.map(([side, {name, second}]) =>
    element('figure', {}, element('img', {src: `searches/${search.id}/pictures/${name}`, alt: `${side} at ${clock(second)}`}),
      element('figcaption', {}, `${side} ${clock(second)}`))));
}

function where(query, match) {
  if (!match.reranked) return ['by the coarse score alone'];
  if (!match.where.length) return ['no part stands out'];
  const parts = match.where.map((part, place) => {
    const [[a, b], [c, d]] = [part.query, part.target];
    const swatch = element('span', {className: 'swatch'});
    swatch.style.background = `var(--candidate${place % COLOURS})`;
    return element('li', {}, swatch, `${clock(a)}-${clock(b)} of yours is ${clock(c)}-${clock(d)}${part.backward ? ', backward' : ''}`);
  });
  return [lines(query, match), element('ul', {className: 'parts'}, ...parts)];
}

// Both videos as lines, yours above, and what of them belongs together.
function lines(query, match) {
  const x = (second, video) => 100 * Math.min(second / Math.max(video.duration, 1e-6), 1);
  const shapes = match.where.map((part, place) => {
    const [a, b] = part.query.map((second) => x(second, query));
    const [c, d] = part.target.map((second) => x(second, match));
    const [left, right] = part.backward ? [d, c] : [c, d];
    const end = (start, stop) => Math.max(stop, start + 0.6);
    return drawn('g', {fill: `var(--candidate${place % COLOURS})`},
      drawn('path', {opacity: 0.25, d: `M${a} 10H${b}L${right} 30H${left}Z`}),
      drawn('path', {d: `M${a} 4H${end(a, b)}V10H${a}ZM${c} 30H${end(c, d)}V36H${c}Z`}));
  });
  return drawn('svg', {viewBox: '0 0 100 40', preserveAspectRatio: 'none', class: 'lines', 'aria-hidden': true},
    drawn('path', {d: 'M0 4H100V10H0ZM0 30H100V36H0Z', fill: 'var(--rule)'}), ...shapes);
}

// Files, however they come.

at('query').onchange = (event) => {
  const [file] = event.target.files;
  if (file) start(file);
  event.target.value = ''; // so that the same file may be chosen again
};
at('cancel').onclick = cancel;
for (const name of ['dragenter', 'dragover']) {
  addEventListener(name, (event) => {
    event.preventDefault();
    at('drop').classList.add('over');
  });
}
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) at('drop').classList.remove('over');
});
addEventListener('drop', (event) => {
  event.preventDefault();
  at('drop').classList.remove('over');
  const [file] = event.dataTransfer.files;
  if (file) start(file);
});
addEventListener('pagehide', cancel);
