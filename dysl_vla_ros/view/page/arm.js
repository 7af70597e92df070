// The arm in three dimensions: lines from joint to joint, drawn from its description and readings.
'use strict';

const Arm = (() => {
  let joints = [], positions = {}, path = [], pathFrame = '';
  let yaw = -0.9, pitch = 0.42, dragged = null, turned = false;

  const identity = () => [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0];  // three rows of four

  function times(a, b) {
    const out = new Array(12);
    for (let r = 0; r < 3; r++) {
      for (let c = 0; c < 4; c++) {
        out[4 * r + c] = a[4 * r] * b[c] + a[4 * r + 1] * b[4 + c] + a[4 * r + 2] * b[8 + c]
          + (c === 3 ? a[4 * r + 3] : 0);
      }
    }
    return out;
  }

  function origin(xyz, rpy) {  // roll, pitch, yaw about fixed axes, as in a URDF
    const [cr, cp, cy] = rpy.map(Math.cos), [sr, sp, sy] = rpy.map(Math.sin);
    return [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, xyz[0],
      sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, xyz[1],
      -sp, cp * sr, cp * cr, xyz[2]];
  }

  function motion(joint, q) {
    const [x, y, z] = joint.axis;
    if (joint.kind === 'prismatic') return [1, 0, 0, x * q, 0, 1, 0, y * q, 0, 0, 1, z * q];
    const c = Math.cos(q), s = Math.sin(q), k = 1 - c;
    return [c + x * x * k, x * y * k - z * s, x * z * k + y * s, 0,
      y * x * k + z * s, c + y * y * k, y * z * k - x * s, 0,
      z * x * k - y * s, z * y * k + x * s, c + z * z * k, 0];
  }

  function reading(joint) {
    if (!joint.mimic) return positions[joint.name] || 0;
    return (positions[joint.mimic[0]] || 0) * joint.mimic[1] + joint.mimic[2];
  }

  function frames() {  // link -> placement; a joint comes after the one that carries it
    const found = {};
    if (joints.length) found[joints[0].parent] = identity();
    for (const joint of joints) {
      const carrier = found[joint.parent] || identity();
      let placed = times(carrier, origin(joint.xyz, joint.rpy));
      if (joint.kind !== 'fixed') placed = times(placed, motion(joint, reading(joint)));
      found[joint.child] = placed;
    }
    return found;
  }

  const at = (frame) => [frame[3], frame[7], frame[11]];

  function draw(canvas) {
    const [g, width, height] = Charts.sheet(canvas);
    const placed = frames(), lines = [];
    const points = Object.values(placed).map(at);
    let size = 0.4;
    for (const p of points) size = Math.max(size, Math.hypot(p[0], p[1], p[2]));
    const scale = 0.5 * Math.min(width, height) / size;
    const cy = Math.cos(yaw), sy = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
    const seen = (p) => {
      const x = cy * p[0] - sy * p[1], y = sy * p[0] + cy * p[1];
      return [width / 2 + x * scale, height * 0.68 - (cp * p[2] + sp * y) * scale, cp * y - sp * p[2]];
    };
    g.strokeStyle = Charts.colour('--line');
    g.lineWidth = 1;
    for (let k = -4; k <= 4; k++) {
      const far = size * 0.8, step = far / 4 * k;
      for (const [a, b] of [[[step, -far, 0], [step, far, 0]], [[-far, step, 0], [far, step, 0]]]) {
        const [from, to] = [seen(a), seen(b)];
        g.beginPath(); g.moveTo(from[0], from[1]); g.lineTo(to[0], to[1]); g.stroke();
      }
    }
    joints.forEach((joint, index) => {
      const from = at(placed[joint.parent] || identity()), to = at(placed[joint.child]);
      if (Math.hypot(from[0] - to[0], from[1] - to[1], from[2] - to[2]) > 1e-4) {
        lines.push([seen(from), seen(to), index, joint.kind !== 'fixed']);
      }
    });
    lines.sort((a, b) => (b[0][2] + b[1][2]) - (a[0][2] + a[1][2]));  // the far ones first
    g.lineCap = 'round';
    for (const [a, b, index, moves] of lines) {
      const thick = Math.max(2.5, 11 - 8 * index / Math.max(joints.length, 1));
      for (const [wide, ink] of [[thick + 2, '--paper'], [thick, '--skipped']]) {
        g.strokeStyle = Charts.colour(ink); g.lineWidth = wide;
        g.beginPath(); g.moveTo(a[0], a[1]); g.lineTo(b[0], b[1]); g.stroke();
      }
      if (moves) {
        g.fillStyle = Charts.colour('--ink');
        g.beginPath(); g.arc(b[0], b[1], Math.max(2, thick * 0.42), 0, 7); g.fill();
      }
    }
    const base = placed[pathFrame] || identity();
    if (path.length) {
      g.strokeStyle = Charts.colour('--full'); g.lineWidth = 2.5; g.beginPath();
      path.forEach((p, index) => {
        const placedAt = at(times(base, [1, 0, 0, p[0], 0, 1, 0, p[1], 0, 0, 1, p[2]]));
        const [x, y] = seen(placedAt);
        if (index) g.lineTo(x, y); else g.moveTo(x, y);
      });
      g.stroke();
    }
    if (!joints.length) Charts.note(g, width, height, 'no robot_description yet');
  }

  function turns(canvas) {
    canvas.addEventListener('pointerdown', (event) => {
      dragged = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!dragged) return;
      yaw += 0.01 * (event.clientX - dragged[0]);
      pitch = Math.min(1.5, Math.max(-0.2, pitch + 0.01 * (event.clientY - dragged[1])));
      dragged = [event.clientX, event.clientY];
      turned = true;
    });
    canvas.addEventListener('pointerup', () => { dragged = null; });
  }

  return {
    draw, turns, frames,
    turned: () => { const was = turned; turned = false; return was; },
    take: (told) => {
      if (told.arm) joints = told.arm;
      if (told.joints) positions = told.joints;
      if (told.path) { path = told.path.points; pathFrame = told.path.frame; }
    },
    list: () => joints, positions: () => positions,
  };
})();
