// Three charts over the same passes: which layers ran, how smooth the motion was, what it cost.
'use strict';

const Charts = (() => {
  const LEFT = 34, COLUMN = 5, MOST = 400;
  const STAGES = ['#9db6c9', '#5b8fb9', '#e8a33d', '#7a9c59'];
  const passes = [];
  let palette = null;

  function colour(name) {
    if (!palette) {
      palette = {};
      matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { palette = null; });
    }
    if (!(name in palette)) {
      palette[name] = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    }
    return palette[name];
  }

  function sheet(canvas) {  // sharp on every screen
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width; canvas.height = height;
    }
    const g = canvas.getContext('2d');
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, box.width, box.height);
    return [g, box.width, box.height];
  }

  function note(g, width, height, text) {
    g.fillStyle = colour('--pale'); g.font = '13px system-ui'; g.textAlign = 'center';
    g.fillText(text, width / 2, height / 2); g.textAlign = 'left';
  }

  function shown(width) {
    return passes.slice(-Math.max(1, Math.floor((width - LEFT) / COLUMN)));
  }

  function label(g, text, y) {
    g.fillStyle = colour('--pale'); g.font = '11px system-ui'; g.textAlign = 'right';
    g.fillText(text, LEFT - 5, y + 4); g.textAlign = 'left';
  }

  function layers(canvas) {
    const [g, width, height] = sheet(canvas), some = shown(width);
    if (!some.length) return note(g, width, height, 'no pass yet');
    const count = some[some.length - 1].mask.length, head = some.some((p) => p.phase) ? 16 : 0;
    const row = (height - head) / count;
    let before = '', free = 0;
    some.forEach((pass, index) => {
      const x = LEFT + index * COLUMN;
      if (pass.mask.length === count) {
        for (let layer = 0; layer < count; layer++) {
          g.fillStyle = pass.mask[layer] === '1' ? colour('--' + pass.mode) : colour('--none');
          g.fillRect(x, head + layer * row, COLUMN - 1, Math.max(1, row - 1));
        }
      }
      if (pass.phase !== before) {
        g.fillStyle = colour('--pale'); g.font = '11px system-ui';
        if (x >= free) {
          g.fillText(pass.phase, x + 2, 11);
          free = x + g.measureText(pass.phase).width + 8;
        }
        g.fillRect(x - 1, 0, 1, head);
        before = pass.phase;
      }
    });
    label(g, '0', head + row / 2);
    label(g, String(count - 1), height - row / 2);
  }

  function continuity(canvas, threshold) {
    const [g, width, height] = sheet(canvas), some = shown(width);
    const values = some.flatMap((p) => p.continuity);
    if (!values.length) return note(g, width, height, 'no continuity yet');
    // A chunk is predicted again where continuity falls by the threshold from what was just before.
    const edges = some.map((pass, index) => {
      const before = index ? some[index - 1].continuity : [];
      const near = [...before, ...pass.continuity.slice(0, 1)];
      return threshold === null || !near.length ? null : Math.max(...near) - threshold;
    });
    const low = Math.min(...values, ...edges.filter((v) => v !== null)) - 0.05;
    const y = (value) => 4 - value / (0 - low) * (height - 8);
    label(g, '0', y(0));
    label(g, low.toFixed(1), y(low) - 4);
    g.fillStyle = colour('--rerun');
    some.forEach((pass, index) => {
      if (!pass.continuity.length) return;
      const high = y(Math.max(...pass.continuity)), deep = y(Math.min(...pass.continuity));
      g.fillRect(LEFT + index * COLUMN, high, COLUMN - 1, Math.max(2, deep - high));
    });
    g.strokeStyle = colour('--bad'); g.setLineDash([4, 3]); g.lineWidth = 1.2; g.beginPath();
    let pen = false;
    edges.forEach((edge, index) => {
      if (edge === null) { pen = false; return; }
      const x = LEFT + index * COLUMN;
      if (pen) g.lineTo(x, y(edge)); else g.moveTo(x, y(edge));
      g.lineTo(x + COLUMN, y(edge));
      pen = true;
    });
    g.stroke();
    g.setLineDash([]);
  }

  function latency(canvas) {
    const [g, width, height] = sheet(canvas), some = shown(width);
    if (!some.length) return note(g, width, height, 'no pass yet');
    const sums = some.map((p) => p.ms.reduce((a, b) => a + (b || 0), 0));
    const sorted = [...sums].sort((a, b) => a - b);
    // One hiccup must not flatten everything else: what is taller is cut at the top.
    const top = Math.max(1, 1.25 * sorted[Math.floor(0.98 * (sorted.length - 1))]);
    some.forEach((pass, index) => {
      let y = height;
      pass.ms.forEach((ms, stage) => {
        const tall = (ms || 0) / top * (height - 4);
        g.fillStyle = STAGES[stage];
        g.fillRect(LEFT + index * COLUMN, y - tall, COLUMN - 1, tall);
        y -= tall;
      });
    });
    label(g, top.toFixed(0), 8);
    label(g, 'ms', height / 2);
    label(g, '0', height - 5);
  }

  const total = (pass) => pass.ms.reduce((a, b) => a + (b || 0), 0);

  function dense() {  // as measured, else reckoned from the share of the layers
    const whole = passes.slice(-60).filter((p) => p.mode === 'full' && !p.mask.includes('0'));
    if (whole.length) {
      const times = whole.map(total).sort((a, b) => a - b);
      return [times[Math.floor(times.length / 2)], 'measured'];
    }
    const last = passes[passes.length - 1];
    if (!last) return [null, ''];
    const ran = [...last.mask].filter((bit) => bit === '1').length;
    if (!ran || last.ms[2] === null) return [null, ''];
    return [total(last) + last.ms[2] * (last.mask.length / ran - 1), 'reckoned'];
  }

  return {
    colour, sheet, note, layers, continuity, latency, dense, total,
    take: (told) => {
      if (told.passes.length) passes.push(...told.passes);
      if (passes.length > MOST) passes.splice(0, passes.length - MOST);
    },
    last: () => passes[passes.length - 1], count: () => passes.length,
    forget: () => { passes.length = 0; },
  };
})();
