// Takes what the server tells, draws it once per frame, and sends what is asked for.
'use strict';

const byId = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get('token') || '';
const STALE_MS = 1000;
const known = {}, waiting = {};
let socket = null, asked = 0, heardAt = 0, changed = false;
const view = { messages: 0, pictures: 0, frames: 0 };  // read by tests
window.view = view;

function connect() {
  socket = new WebSocket(`ws://${location.host}/live?token=${encodeURIComponent(token)}`);
  socket.binaryType = 'arraybuffer';
  Charts.forget();
  byId('events').replaceChildren();
  socket.onmessage = (event) => {
    heardAt = performance.now();
    if (typeof event.data === 'string') take(JSON.parse(event.data)); else picture(event.data);
  };
  socket.onclose = () => setTimeout(connect, 1000);
}

function take(told) {
  if ('answer' in told) return answered(told);
  view.messages += 1;
  Object.assign(known, told);
  Charts.take(told);
  Arm.take(told);
  told.events.forEach(addEvent);
  changed = true;
}

function picture(data) {
  const index = new Uint8Array(data, 0, 1)[0], name = (known.cameras || [])[index];
  if (name === undefined) return;
  view.pictures += 1;
  let figure = document.querySelector(`figure[data-camera="${CSS.escape(name)}"]`);
  if (!figure) {
    figure = document.createElement('figure');
    figure.dataset.camera = name;
    figure.append(document.createElement('img'), document.createElement('figcaption'));
    figure.querySelector('img').alt = figure.querySelector('figcaption').textContent = name;
    byId('cameras').append(figure);
  }
  const image = figure.querySelector('img'), before = image.src;
  image.src = URL.createObjectURL(new Blob([new Uint8Array(data, 1)]));
  if (before) URL.revokeObjectURL(before);
}

// ---- what is asked -----------------------------------------------------------------------------

function ask(what, value) {
  if (!socket || socket.readyState !== WebSocket.OPEN) {
    return say(`not connected: ${what} was not sent`, false);
  }
  asked += 1;
  waiting[asked] = what;
  socket.send(JSON.stringify({ id: asked, do: what, value: value === undefined ? null : value }));
  return say(`${what} ...`, true);
}

function answered(told) {
  say(`${waiting[told.answer] || ''}: ${told.message}`, told.success);
  delete waiting[told.answer];
}

function say(text, good) {
  byId('said').textContent = text;
  byId('said').className = good ? '' : 'bad';
}

const value = (kind, key) => ((known[kind] || {}).values || {})[key];
const isArmed = () => value('commands', 'armed') === 'true';

byId('estop').addEventListener('pointerdown', () => ask('estop'));  // not on release: sooner
byId('estop').addEventListener('click', (event) => { if (event.detail === 0) ask('estop'); });
for (const button of document.querySelectorAll('button[data-do]')) {
  button.addEventListener('click', () => ask(button.dataset.do));
}
byId('pause').addEventListener('click', () => ask('pause', known.state !== 'paused'));
byId('arm').addEventListener('click', () => {
  if (isArmed() || confirm('Arm: commands go to the arm from now on. Is everybody clear of it?')) {
    ask('arm', !isArmed());
  }
});
byId('scene').addEventListener('click', () => {
  ask('scene', Number((known.episode || {}).seed || 0) + 1);
});
byId('mode').addEventListener('change', (event) => ask('mode', event.target.value));
byId('tell').addEventListener('submit', (event) => {
  event.preventDefault();
  ask('instruct', byId('instruction').value);
});

// ---- what is shown -----------------------------------------------------------------------------

function addEvent(event) {
  const line = document.createElement('li'), time = document.createElement('time');
  time.textContent = new Date(1000 * event.at).toLocaleTimeString([], { hour12: false });
  line.className = event.level;
  line.append(time, event.text);
  byId('events').prepend(line);
  while (byId('events').children.length > 200) byId('events').lastChild.remove();
}

function joints() {
  const box = byId('joints'), positions = Arm.positions();
  for (const joint of Arm.list()) {
    if (joint.kind === 'fixed' || joint.mimic || !(joint.name in positions)) continue;
    let row = box.querySelector(`[data-joint="${CSS.escape(joint.name)}"]`);
    if (!row) {
      row = document.createElement('div');
      row.className = 'joint';
      row.dataset.joint = joint.name;
      row.append(document.createElement('span'), document.createElement('meter'),
        document.createElement('output'));
      row.firstChild.textContent = row.title = joint.name;
      box.append(row);
    }
    const q = positions[joint.name], unit = joint.kind === 'prismatic' ? 'm' : 'rad';
    const [, meter, output] = row.children;
    const limited = joint.lower !== null && joint.upper !== null && joint.upper > joint.lower;
    meter.min = limited ? joint.lower : -Math.PI;
    meter.max = limited ? joint.upper : Math.PI;
    meter.value = q;
    output.textContent = `${q.toFixed(2)} ${unit}`;
    row.title = limited ? `${joint.name}: ${joint.lower.toFixed(2)} to ${joint.upper.toFixed(2)} ${unit}`
      : `${joint.name}: without limits`;
    const room = limited ? Math.min(q - joint.lower, joint.upper - q) / (joint.upper - joint.lower) : 1;
    row.classList.toggle('near', room < 0.03);
  }
}

function words() {
  const alive = performance.now() - heardAt < STALE_MS;
  byId('link').textContent = alive ? (known.may_write ? 'live' : 'live, read only') : 'NO CONNECTION';
  byId('link').classList.toggle('bad', !alive);
  const state = !alive ? 'unknown' : known.there ? known.state || 'waiting' : 'not there';
  byId('node').textContent = known.node || '-';
  byId('state').textContent = state;
  byId('state').className = 'state ' + (known.there && alive ? state : 'gone');
  const reason = value('commands', 'hold_reason');
  byId('reason').textContent = [known.pressed ? 'the e-stop of this page is pressed: reset releases it' : '',
    reason && reason !== 'n/a' ? reason : '', known.unclear || '', known.camera_problem || '']
    .filter((text) => text).join('; ');
  byId('armed').textContent = isArmed() ? 'armed' : 'not armed: in shadow';
  byId('arm').textContent = isArmed() ? 'disarm' : 'arm';
  byId('pause').textContent = known.state === 'paused' ? 'resume' : 'pause';
  byId('estop').classList.toggle('down', Boolean(known.pressed));
  byId('scene').hidden = !known.simulated;
  for (const control of document.querySelectorAll('button, select, input')) {
    control.disabled = !(alive && known.may_write);
  }
  const mode = byId('mode'), current = value('policy', 'skip_mode');
  if (current && document.activeElement !== mode && mode.value !== current) mode.value = current;
  byId('told').textContent = `told: ${value('policy', 'instruction') || '-'}`;
  const rate = value('commands', 'command_rate_hz') || '-';
  byId('rate').innerHTML = '';
  const big = document.createElement('b');
  big.textContent = `${rate} Hz`;
  byId('rate').append(big, ` longest gap ${value('commands', 'command_gap_ms_max') || '-'} ms, `
    + `p99 jitter ${value('commands', 'command_jitter_ms_p99') || '-'} ms`);
  const last = Charts.last(), [dense, how] = Charts.dense();
  if (last) {
    const ran = [...last.mask].filter((bit) => bit === '1').length;
    byId('pass').textContent = `this pass ${Charts.total(last).toFixed(1)} ms, ${ran} of `
      + `${last.mask.length} layers (${last.mode})`
      + (dense === null ? '' : `; a dense one ${dense.toFixed(1)} ms (${how})`)
      + `; skipped ${value('policy', 'skip_ratio') || '-'}, re-runs ${value('policy', 'rerun_count') || '-'}`;
  }
}

const thresholdNow = () => {
  const found = Number.parseFloat(value('policy', 'continuity_threshold'));
  return Number.isFinite(found) ? found : null;
};

function draw() {
  requestAnimationFrame(draw);
  if (!changed && !Arm.turned()) return;  // nothing is drawn that is there already
  changed = false;
  view.frames += 1;
  Arm.draw(byId('arm3d'));
  const threshold = thresholdNow();
  Charts.layers(byId('layers'));
  Charts.continuity(byId('continuity'), threshold);
  Charts.latency(byId('latency'));
  byId('threshold').textContent = threshold === null ? ''
    : `of each chunk; below the dashes, ${threshold} under what was before, it is predicted again in full`;
  joints();
}

Arm.turns(byId('arm3d'));
setInterval(words, 100);
connect();
requestAnimationFrame(draw);
