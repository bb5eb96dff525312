from conftest import *
async def test_x(proxy: OpenProxy) -> None:
    p = await proxy()
    r = await p.chat()
    print(r.status, r.headers, await r.json())
    r = await p.chat(stream=True, stream_options={"include_usage":True})
    print(r.headers, await events(r))
    print(await p.accounts(), await p.record(r))
    for path in ("/health","/livez","/readyz","/providers","/user/stats","/stats","/v1/models"): print(path, await p.get(path))
