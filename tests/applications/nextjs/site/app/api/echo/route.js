export async function POST(request) {
  const form = await request.formData();
  const file = form.get('file');
  const cookie = { 'Set-Cookie': 'visitor=v1; Path=/; HttpOnly' };
  return Response.json({ name: file.name, size: file.size, from: form.get('from') }, { headers: cookie });
}

export function GET(request) {
  return Response.json({ url: request.url, host: request.headers.get('host') });
}
