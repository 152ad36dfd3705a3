/* A page that was opened from a disk may start no worker. The search then runs in a hidden frame instead, which
   talks to the page as a worker would; both are local, so nothing leaves the machine. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inside = this.frame.contentWindow
      this.ready = new Promise(resolve => {
        inside.document.open()
        inside.ready = resolve
        inside.document.write(`<body><script>
          postMessage = data => parent.postMessage(data, "*")
          importScripts = (...addresses) => addresses.reduce((before, address) => before.then(() =>
            new Promise((loaded, failed) => {
              const script = document.createElement("script")
              Object.assign(script, { src: address, onload: loaded, onerror: failed })
              document.body.append(script)
            })), Promise.resolve())
        <\/script><script src="${address}" onload="ready()"><\/script>`)
        inside.document.close()
      })
      addEventListener("message", event => {
        if (event.source !== inside) return
        const copy = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(copy)
        this.onmessage?.(copy)
      })
    }

    postMessage(data) {
      this.ready.then(() =>
        this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
