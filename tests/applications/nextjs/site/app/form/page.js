import { cookies } from 'next/headers';
import { redirect } from 'next/navigation';

export const dynamic = 'force-dynamic';

async function save(form) {
  'use server';
  (await cookies()).set('name', form.get('name'));
  redirect('/form');
}

export default async function Page() {
  const name = (await cookies()).get('name')?.value;
  return (
    <form action={save}>
      <p>{`Hello ${name ?? 'stranger'}.`}</p>
      <input name="name" />
      <button>save</button>
    </form>
  );
}
