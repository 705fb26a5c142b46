export default { compress: true };
