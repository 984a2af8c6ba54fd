// Turns textured meshes with the mouse. A viewer gets its WebGL context when it scrolls into view
// and gives it back when it leaves: browsers allow about sixteen contexts at a time.
'use strict';

const VERTEX_SHADER = `
attribute vec3 position;
attribute vec3 normal;
attribute vec2 uv;
uniform mat4 matrix;
uniform mat3 turn;
varying vec3 turned;
varying vec2 at;
void main() {
  turned = turn * normal;
  at = uv;
  gl_Position = matrix * vec4(position, 1.0);
}`;

const FRAGMENT_SHADER = `
precision mediump float;
uniform sampler2D picture;
uniform int mode;
varying vec3 turned;
varying vec2 at;
void main() {
  vec3 n = normalize(turned);
  if (!gl_FrontFacing) n = -n;
  float lit = 0.1 + 0.78 * max(dot(n, normalize(vec3(-0.65, 0.35, 1.0))), 0.0);
  vec4 texel = texture2D(picture, at);
  vec3 colour = texel.rgb;
  if (mode == 1) colour = vec3(lit);
  if (mode == 2) colour = n * 0.5 + 0.5;
  if (!gl_FrontFacing) colour *= 0.55;
  gl_FragColor = vec4(colour, 1.0);
}`;

function decode(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
}

function rotation(yaw, pitch) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return [cy, sy * sp, -sy * cp, 0, cp, sp, sy, -cy * sp, cy * cp]; // by columns
}

class Viewer {
  constructor(figure) {
    this.figure = figure;
    this.canvas = figure.querySelector('canvas');
    this.data = JSON.parse(figure.querySelector('script').textContent);
    [this.yaw, this.pitch] = [Math.min(0.3, this.data.yaw), 0.12];
    this.zoom = 1;
    this.mode = 0;
    this.gl = null;
    this.listen();
  }

  listen() {
    const buttons = [...this.figure.querySelectorAll('button')];
    const choose = (mode) => {
      this.mode = mode;
      buttons.forEach((button, index) => button.setAttribute('aria-pressed', index === mode));
      this.draw();
    };
    buttons.forEach((button, index) => button.addEventListener('click', () => choose(index)));
    choose(0);
    this.canvas.addEventListener('pointerdown', (event) => this.canvas.setPointerCapture(event.pointerId));
    this.canvas.addEventListener('pointermove', (event) => {
      if (event.buttons) this.turn(event.movementX * 0.01, event.movementY * 0.01);
    });
    this.canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.zoom = Math.min(6, Math.max(0.4, this.zoom * Math.exp(-event.deltaY * 0.001)));
      this.draw();
    }, { passive: false });
    this.canvas.addEventListener('dblclick', () => {
      [this.yaw, this.pitch, this.zoom] = [0, 0, 1];
      this.draw();
    });
    this.canvas.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.turn(...step);
    });
    this.canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault();
      this.gl = null;
      if (this.wanted) setTimeout(() => this.lose.restoreContext(), 0);
    });
    this.canvas.addEventListener('webglcontextrestored', () => this.start());
  }

  turn(yaw, pitch) {
    // Farther round there is nothing to see: a depth map has no back.
    this.yaw = Math.min(this.data.yaw, Math.max(-this.data.yaw, this.yaw + yaw));
    this.pitch = Math.min(0.8, Math.max(-0.8, this.pitch + pitch));
    this.draw();
  }

  show() {
    this.wanted = true;
    if (this.lose && this.canvas.getContext('webgl').isContextLost()) this.lose.restoreContext();
    else if (!this.started) this.start();
  }

  hide() {
    this.wanted = false;
    if (this.gl && this.lose) this.lose.loseContext();
  }

  start() {
    this.started = true;
    const gl = this.canvas.getContext('webgl', { antialias: true, preserveDrawingBuffer: true });
    if (!gl) {
      this.canvas.dataset.drawn = 'no WebGL';
      return;
    }
    this.lose = gl.getExtension('WEBGL_lose_context');
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    const attributes = [
      ['position', this.data.vertices, 3, gl.FLOAT, 12],
      ['normal', this.data.normals, 3, gl.BYTE, 4],
      ['uv', this.data.uv, 2, gl.UNSIGNED_SHORT, 4],
    ];
    for (const [name, text, width, kind, stride] of attributes) {
      const place = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, decode(text, Uint8Array), gl.STATIC_DRAW);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, width, kind, kind !== gl.FLOAT, stride, 0);
    }
    if (this.data.wide) gl.getExtension('OES_element_index_uint');
    const faces = decode(this.data.faces, this.data.wide ? Uint32Array : Uint16Array);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
    this.count = faces.length;
    this.kind = this.data.wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT;
    this.place = (name) => gl.getUniformLocation(program, name);
    gl.enable(gl.DEPTH_TEST);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    const grey = new Uint8Array([128, 128, 128, 255]);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, grey);
    for (const [key, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) {
      gl.texParameteri(gl.TEXTURE_2D, key, value);
    }
    this.gl = gl;
    this.draw();
    this.report();
    const picture = new Image();
    picture.onload = () => {
      if (this.gl !== gl || gl.isContextLost()) return;
      gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
      this.draw();
      this.report();
    };
    picture.src = this.data.texture;
  }

  draw() {
    const gl = this.gl;
    if (!gl) return;
    const turn = rotation(this.yaw, this.pitch);
    const [size, away, near, far] = [1.85 * this.zoom, 6, 3, 9];
    // A far eye with a narrow field of view: the mesh is 1 long and its centre `away` from the eye.
    const scale = size * away;
    const [a, b] = [(near + far) / (near - far), (2 * near * far) / (near - far)];
    const row = (k) => [turn[k], turn[k + 3], turn[k + 6]];
    const [x, y, z] = [row(0), row(1), row(2)];
    const matrix = [];
    for (let k = 0; k < 3; k++) matrix.push(scale * x[k], scale * y[k], a * z[k], -z[k]);
    matrix.push(0, 0, -a * away + b, away);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0.925, 0.929, 0.929, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix4fv(this.place('matrix'), false, matrix);
    gl.uniformMatrix3fv(this.place('turn'), false, turn);
    gl.uniform1i(this.place('mode'), this.mode);
    gl.drawElements(gl.TRIANGLES, this.count, this.kind, 0);
  }

  // Says in the page how much of the canvas the mesh covers, in percent, and in how many colours.
  report() {
    const { width, height } = this.canvas;
    const pixels = new Uint8Array(4 * width * height);
    this.gl.readPixels(0, 0, width, height, this.gl.RGBA, this.gl.UNSIGNED_BYTE, pixels);
    let covered = 0;
    const colours = new Set();
    const step = 4; // every fourth pixel is enough
    for (let k = 0; k < pixels.length; k += 4 * step) {
      const [r, g, b] = [pixels[k], pixels[k + 1], pixels[k + 2]];
      colours.add((r << 16) | (g << 8) | b);
      if (Math.abs(r - 236) + Math.abs(g - 237) + Math.abs(b - 237) > 6) covered++;
    }
    this.canvas.dataset.drawn = Math.round((100 * step * covered) / (width * height));
    this.canvas.dataset.colours = colours.size;
    this.canvas.dataset.error = this.gl.getError();
  }
}

const viewers = new Map();

function onScreen(figure, seen) {
  if (seen && !viewers.has(figure)) viewers.set(figure, new Viewer(figure));
  const viewer = viewers.get(figure);
  if (viewer) seen ? viewer.show() : viewer.hide();
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) onScreen(target, isIntersecting);
}, { rootMargin: '100px' });
document.querySelectorAll('figure.viewer').forEach((figure) => {
  // What is on screen at once is drawn before the page counts as loaded.
  if (figure.getBoundingClientRect().top < window.innerHeight) onScreen(figure, true);
  watcher.observe(figure);
});
